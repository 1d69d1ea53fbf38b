#include "cli/run_stats.h"

/* FUSE opcodes (linux/fuse.h). */
#define FUSE_OP_READ  15
#define FUSE_OP_WRITE 16

static void add_server(struct oriel_fuse_server *server, struct run_stats *sum)
{
    struct oriel_fuse_stats stats;
    oriel_fuse_server_stats(server, &stats);
    sum->requests += stats.requests;
    sum->request_errors += stats.errors;
    sum->bad_requests += stats.bad_requests;
    sum->read_requests += stats.ops[FUSE_OP_READ].count;
    sum->write_requests += stats.ops[FUSE_OP_WRITE].count;
    sum->read_bytes += stats.read_bytes;
    sum->write_bytes += stats.write_bytes;
}

static void add_session(struct oriel_dax *dax, struct run_stats *sum)
{
    struct oriel_dax_stats stats;
    oriel_dax_stats(dax, &stats);
    sum->setupmappings += stats.setups;
    sum->setup_errors += stats.setup_errors;
    sum->removemappings += stats.removes;
    sum->remove_errors += stats.remove_errors;
    sum->upgrades += stats.upgrades;
    sum->replaced += stats.replaced;
    sum->fault_binds += stats.fault_binds;
}

static void add_window(const struct window_meter *meter, struct run_stats *sum)
{
    sum->mapped_now += atomic_load(&meter->bytes_now);
    sum->mapped_peak += atomic_load(&meter->bytes_peak);
    sum->mapped_total += atomic_load(&meter->bytes_total);
}

static void add_device(struct oriel_virtio_fs *device, struct run_stats *sum)
{
    struct oriel_virtio_fs_stats stats;
    oriel_virtio_fs_stats(device, &stats);
    sum->kicks += stats.kicks;
    sum->notifications += stats.notifications;
}

void run_stats_collect(struct vm *vm, struct fs_device *shares, size_t count, struct run_stats *stats)
{
    *stats = (struct run_stats){.exits = vm_exits(vm), .faults_injected = atomic_load(&vm->faults_injected)};
    for (size_t i = 0; i < count; i++) {
        add_server(shares[i].server, stats);
        add_device(shares[i].virtio, stats);
        if (shares[i].dax == NULL)
            continue;
        add_session(shares[i].dax, stats);
        add_window(&shares[i].meter, stats);
    }
}
