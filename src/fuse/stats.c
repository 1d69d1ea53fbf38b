#include "fuse/stats.h"

#include <errno.h>
#include <stdlib.h>

int fuse_stats_init(struct stats *stats, bool timing)
{
    if (!timing)
        return 0;
    stats->histograms = calloc(GATE_SHARDS, sizeof(stats->histograms[0]));
    return stats->histograms == NULL ? -ENOMEM : 0;
}

void fuse_stats_destroy(struct stats *stats)
{
    free(stats->histograms);
    stats->histograms = NULL;
}

static unsigned bucket_of(uint64_t ns)
{
    unsigned log2 = ns == 0 ? 0 : 63 - (unsigned)__builtin_clzll(ns);
    return log2 < STATS_BUCKETS ? log2 : STATS_BUCKETS - 1;
}

void fuse_stats_request(struct stats *stats, unsigned shard, unsigned op, bool error, uint64_t ns)
{
    struct stats_op *counters = &stats->shards[shard].ops[op];
    fuse_stats_add(&counters->count, 1);
    if (error)
        fuse_stats_add(&counters->errors, 1);
    if (stats->histograms != NULL) {
        fuse_stats_add(&counters->total_ns, ns);
        fuse_stats_add(&stats->histograms[shard].buckets[op][bucket_of(ns)], 1);
    }
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void sum_shard(const struct stats_shard *shard, struct oriel_fuse_stats *out)
{
    for (unsigned op = 0; op < ORIEL_FUSE_OPCODES; op++) {
        out->ops[op].count += load(&shard->ops[op].count);
        out->ops[op].errors += load(&shard->ops[op].errors);
        out->ops[op].total_ns += load(&shard->ops[op].total_ns);
    }
    out->read_bytes += load(&shard->read_bytes);
    out->write_bytes += load(&shard->write_bytes);
    out->bad_requests += load(&shard->bad);
}

static void sum_histograms(const struct stats_histograms *shard, struct oriel_fuse_stats *out)
{
    for (unsigned op = 0; op < ORIEL_FUSE_OPCODES; op++) {
        for (unsigned i = 0; i < STATS_BUCKETS; i++)
            out->ops[op].histogram[i] += load(&shard->buckets[op][i]);
    }
}

void fuse_stats_sum(struct stats *stats, struct oriel_fuse_stats *out)
{
    for (unsigned i = 0; i < GATE_SHARDS; i++) {
        sum_shard(&stats->shards[i], out);
        if (stats->histograms != NULL)
            sum_histograms(&stats->histograms[i], out);
    }
    for (unsigned op = 0; op < ORIEL_FUSE_OPCODES; op++) {
        out->requests += out->ops[op].count;
        out->errors += out->ops[op].errors;
    }
}
