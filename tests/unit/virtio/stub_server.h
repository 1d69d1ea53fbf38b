/*
 * A stand-in for the FUSE server, for tests of what is in front of it: replies with the request's unique and
 * no data, and can be made to block.
 *
 * Opcodes: STUB_PLAIN answers at once; STUB_BLOCK waits for stub_release() on the thread that serves it and
 * says MAY_BLOCK; STUB_LOCK waits for oriel_fuse_server_interrupt() and says MAY_BLOCK; STUB_FORGET has no
 * reply.
 */
#ifndef STUB_SERVER_H
#define STUB_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <oriel/fuse_server.h>

enum { STUB_PLAIN = 100, STUB_BLOCK = 101, STUB_LOCK = 102, STUB_COLD = 103, STUB_FORGET = 2 };

struct oriel_fuse_server {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool released;
    unsigned interrupts;
    atomic_uint served, waiting, resets, guarded, hiprio;
};

void stub_server_init(struct oriel_fuse_server *server);
void stub_server_destroy(struct oriel_fuse_server *server);

/* Lets go what STUB_BLOCK holds, now and from now on. */
void stub_release(struct oriel_fuse_server *server);

#endif
