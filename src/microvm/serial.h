/*
 * A 16550A serial port: what the guest's console and the command's standard streams go through.
 *
 * Knows registers only: characters leave through `output`, the interrupt line through `interrupt`, and
 * characters for the guest are pulled through `input` whenever the guest is ready for one. Calls may come
 * from any thread.
 */
#ifndef ORIEL_MICROVM_SERIAL_H
#define ORIEL_MICROVM_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "microvm/port_bus.h"

#define SERIAL_PORTS   8
#define SERIAL_FIFO    16
#define SERIAL_OUT_MAX 512

struct serial_options {
    /* Takes characters the guest sent; may block while they cannot be taken. */
    void (*output)(void *opaque, const uint8_t *data, size_t len);
    /* Level of the interrupt line; called only when it changes. */
    void (*interrupt)(void *opaque, bool level);
    /* The guest took characters or became ready to: serial_receive() has room again. */
    void (*ready)(void *opaque);
    void *opaque;
};

struct serial {
    struct serial_options options;
    pthread_mutex_t lock;
    uint8_t ier, fcr, lcr, mcr, scr;
    uint8_t dll, dlm;
    bool input_open, overrun, thr_empty_pending, line;
    uint8_t rx[SERIAL_FIFO];
    unsigned rx_head, rx_count;
    uint8_t out[SERIAL_OUT_MAX];
    size_t out_len;
};

extern const struct port_ops serial_port_ops; /* opaque: the struct serial */

void serial_init(struct serial *serial, const struct serial_options *options);
void serial_destroy(struct serial *serial);

/* From now on the guest is given input. Before, its terminal line would echo and edit what comes. */
void serial_open_input(struct serial *serial);

/* How many characters serial_receive() takes now: none before serial_open_input(), none while the guest holds
 * RTS down (flow control). */
size_t serial_room(struct serial *serial);

/* Gives the guest characters; returns how many were taken. */
size_t serial_receive(struct serial *serial, const uint8_t *data, size_t len);

/* Hands characters that are held back to `output`. */
void serial_flush(struct serial *serial);

#endif
