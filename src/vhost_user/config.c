/* The configuration space, for front-ends that ask the back-end for it (PROTOCOL_F_CONFIG). */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/le.h"
#include "vhost_user/backend.h"

#define CONFIG_LEN                40 /* virtio 1.3, 5.11.4 without the notification queue */
#define CONFIG_NUM_REQUEST_QUEUES 36

static const size_t config_head = offsetof(struct vhost_user_config, bytes);

static bool is_sound(const struct message *request)
{
    const struct vhost_user_config *config = &request->payload.config;
    return request->header.size >= config_head && config->size <= VHOST_USER_CONFIG_MAX &&
           request->header.size == config_head + config->size &&
           range_within(config->offset, config->size, VHOST_USER_CONFIG_MAX);
}

/* The device has a queue for every front-end's wish; what it recommends is its embedder's choice. */
static void read_config(const struct oriel_vhost_user *vu, uint32_t offset, uint8_t *bytes, uint32_t size)
{
    uint8_t space[VHOST_USER_CONFIG_MAX] = {0};
    oriel_virtio_fs_config_read(vu->device, 0, space, CONFIG_LEN);
    le32_store(space + CONFIG_NUM_REQUEST_QUEUES, vu->options.num_request_queues);
    memcpy(bytes, space + offset, size);
}

int vhost_user_get_config(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    const struct vhost_user_config *asked = &request->payload.config;
    if (!is_sound(request)) {
        /* The protocol's way to say so: an empty payload. */
        vhost_user_refuse(vu, 0, "configuration space: offset or size out of range");
        reply->header.size = 0;
        return 0;
    }
    reply->payload.config =
        (struct vhost_user_config){.offset = asked->offset, .size = asked->size, .flags = asked->flags};
    read_config(vu, asked->offset, reply->payload.config.bytes, asked->size);
    reply->header.size = request->header.size;
    return 0;
}

/* Nothing in it is the driver's to write; a migration may only restore what is already there. */
int vhost_user_set_config(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    const struct vhost_user_config *config = &request->payload.config;
    uint8_t present[VHOST_USER_CONFIG_MAX];
    if (!is_sound(request))
        return vhost_user_refuse(vu, -EINVAL, "configuration space: offset or size out of range");
    if (config->flags != VHOST_USER_CONFIG_MIGRATION)
        return vhost_user_refuse(vu, -EPERM, "the configuration space is read-only");
    read_config(vu, config->offset, present, config->size);
    if (memcmp(present, config->bytes, config->size) != 0)
        return vhost_user_refuse(vu, -EINVAL, "the configuration differs from that of this device");
    return 0;
}
