/* Counters of the server, sharded by thread so that counting never contends. */
#ifndef ORIEL_FUSE_STATS_H
#define ORIEL_FUSE_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <oriel/fuse_server.h>

#include "fuse/gate.h"

#define STATS_BUCKETS 32

struct stats_op {
    _Atomic uint64_t count, errors, total_ns;
};

struct stats_shard {
    _Alignas(64) struct stats_op ops[ORIEL_FUSE_OPCODES];
    _Atomic uint64_t read_bytes, write_bytes, bad;
};

struct stats_histograms {
    _Atomic uint64_t buckets[ORIEL_FUSE_OPCODES][STATS_BUCKETS];
};

struct stats {
    struct stats_shard shards[GATE_SHARDS];
    struct stats_histograms *histograms; /* one a shard; NULL while timing is off */
};

/* -ENOMEM. stats is zeroed memory. */
int fuse_stats_init(struct stats *stats, bool timing);
void fuse_stats_destroy(struct stats *stats);

static inline void fuse_stats_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Counts a request of row `op` (0: unknown opcodes) in a thread's shard. ns is ignored while timing is off. */
void fuse_stats_request(struct stats *stats, unsigned shard, unsigned op, bool error, uint64_t ns);

/* Adds all shards up. */
void fuse_stats_sum(struct stats *stats, struct oriel_fuse_stats *out);

#endif
