/* The vhost-user object, as its own files see it. */
#ifndef ORIEL_VHOST_USER_BACKEND_H
#define ORIEL_VHOST_USER_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <oriel/vhost_user.h>

#include "vhost_user/log.h"
#include "vhost_user/memory_table.h"
#include "vhost_user/message.h"
#include "vhost_user/rings.h"

struct oriel_vhost_user {
    struct oriel_vhost_user_options options;
    struct oriel_virtio_fs *device;
    atomic_bool stopping;

    /* ---- the connection; all of it belongs to the thread that calls oriel_vhost_user_run() ---- */
    int socket; /* -1: no front-end */
    struct receiver receiver;
    uint64_t features; /* acknowledged virtio and vhost bits */
    bool features_set; /* the device accepted them */
    uint64_t protocol_features;
    uint64_t status;   /* virtio device status, as the front-end set it */
    const char *fault; /* why the message at hand is refused */
    struct memory_table memory;
    struct dirty_log log;
    /* Later: inflight region, device state, shared-memory (DAX) channel. */

    struct mapped_ranges ranges;
    atomic_bool memory_lost; /* oriel_vhost_user_repair() put zero pages into what the front-end shares */
    atomic_bool needs_reset; /* the device is broken: DEVICE_NEEDS_RESET in the status */
    _Atomic uint64_t connections, messages, refused;

    uint16_t ring_count;
    struct ring rings[ORIEL_VIRTIO_FS_MAX_QUEUES];
};

/* The protocol features this object offers. */
uint64_t vhost_user_offered_protocol_features(const struct oriel_vhost_user *vu);

bool vhost_user_has(const struct oriel_vhost_user *vu, uint64_t protocol_feature);

/* Notes why the message at hand is refused, and returns err. */
int vhost_user_refuse(struct oriel_vhost_user *vu, int err, const char *fault);

/*
 * Handles one complete request and answers it. 0, or a negative errno when the connection has to end.
 */
int vhost_user_dispatch(struct oriel_vhost_user *vu, struct message *request);

/* The requests of config.c; as the handlers in dispatch.c. */
int vhost_user_get_config(struct oriel_vhost_user *vu, struct message *request, struct message *reply);
int vhost_user_set_config(struct oriel_vhost_user *vu, struct message *request, struct message *reply);

/* The device asks for the guest's whole state to be forgotten (RESET_DEVICE). */
void vhost_user_reset_device(struct oriel_vhost_user *vu, bool keep_signals);

void vhost_user_log(const struct oriel_vhost_user *vu, enum oriel_vhost_user_level level, const char *format,
                    ...) __attribute__((format(printf, 3, 4)));

#endif
