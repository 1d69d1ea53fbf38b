/* The bookkeeping of the DAX session alone: setup, remove and fault over a mapper that does nothing. */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>

#include <oriel/dax.h>

#define SLOT (UINT64_C(2) << 20)
#define GPA  (UINT64_C(1) << 40)

static int no_map(void *opaque, uint64_t offset, int fd, uint64_t file_offset, uint64_t len, uint32_t prot,
                  enum oriel_range_left *left)
{
    (void)opaque, (void)offset, (void)fd, (void)file_offset, (void)len, (void)prot, (void)left;
    return 0;
}

static int no_unmap(void *opaque, uint64_t offset, uint64_t len, enum oriel_range_left *left)
{
    (void)opaque, (void)offset, (void)len, (void)left;
    return 0;
}

static int no_acquire(void *opaque, uint64_t nodeid, uint32_t prot, struct oriel_dax_file *out)
{
    (void)opaque, (void)nodeid, (void)prot;
    out->max_prot = ORIEL_DAX_READ | ORIEL_DAX_WRITE;
    return 0;
}

static void no_release(void *opaque, const struct oriel_dax_file *file)
{
    (void)opaque, (void)file;
}

static struct oriel_dax *session(uint64_t slots, uint64_t cap_slots)
{
    const struct oriel_dax_source source = {
        .size = sizeof(source), .acquire = no_acquire, .release = no_release};
    const struct oriel_dax_mapper mapper = {
        .size = sizeof(mapper), .map = no_map, .unmap = no_unmap, .min_granule = 4096};
    const struct oriel_dax_options options = {.size = sizeof(options),
                                              .window_gpa = GPA,
                                              .window_len = slots * SLOT,
                                              .cap_bytes = cap_slots * SLOT,
                                              .source = &source,
                                              .mapper = &mapper};
    struct oriel_dax *dax = NULL;
    if (oriel_dax_create(&options, &dax) != 0)
        abort();
    return dax;
}

#define PAIRS 200000

struct worker {
    struct oriel_dax *dax;
    uint64_t first; /* moffset of its free range, in slots */
    uint64_t count;
    double ns;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    uint64_t start = bench_cpu();
    for (uint64_t i = 0; i < PAIRS; i++) {
        struct oriel_dax_range range = {(w->first + i * 97 % w->count) * SLOT, SLOT};
        int err = oriel_dax_setup(w->dax, 1, 0, SLOT, range.moffset, ORIEL_DAX_READ);
        err |= oriel_dax_remove(w->dax, &range, 1);
        BENCH_KEEP(err);
    }
    w->ns = (double)(bench_cpu() - start) / PAIRS;
    return NULL;
}

static double one_thread(void *arg)
{
    work(arg);
    return ((struct worker *)arg)->ns;
}

static double two_threads(void *arg)
{
    struct worker *w = arg, other = {w->dax, w->first + w->count, w->count, 0};
    pthread_t thread;
    pthread_create(&thread, NULL, work, &other);
    work(w);
    pthread_join(thread, NULL);
    return (w->ns + other.ns) / 2;
}

static void bench_pairs(void)
{
    const uint64_t live[] = {0, 100, 10000, 100000};
    bench_title("setup + remove, bookkeeping alone (no-op mapper), 2 MiB slots");
    for (size_t i = 0; i < sizeof(live) / sizeof(live[0]); i++) {
        char what[80];
        struct oriel_dax *dax = session(live[i] + 2048, 0);
        for (uint64_t k = 0; k < live[i]; k++)
            oriel_dax_setup(dax, 1, k * SLOT, SLOT, k * SLOT, ORIEL_DAX_READ);
        struct worker w = {dax, live[i], 1024, 0};
        double one, two;
        bench_against(one_thread, &w, two_threads, &w, &one, &two);
        snprintf(what, sizeof(what), "one thread, %llu live", (unsigned long long)live[i]);
        bench_value(what, one, "ns", "at most 60 ns");
        snprintf(what, sizeof(what), "two threads on disjoint ranges, %llu live (floor: one)",
                 (unsigned long long)live[i]);
        bench_row(what, two, one, "ns", "at most 1.5x");
        oriel_dax_destroy(dax);
    }
    struct oriel_dax *dax = session(4096, 1000);
    for (uint64_t k = 0; k < 996; k++)
        oriel_dax_setup(dax, 1, k * SLOT, SLOT, k * SLOT, ORIEL_DAX_READ);
    struct worker w = {dax, 2000, 1024, 0};
    bench_value("one thread, 4 slots below a cap of 1,000", bench_rounds(one_thread, &w), "ns", "");
    bench_value("two threads, 4 slots below a cap of 1,000", bench_rounds(two_threads, &w), "ns", "");
    oriel_dax_destroy(dax);
}

#define FAULTS 1000000

struct faulter {
    struct oriel_dax *dax;
    uint64_t base, span, stride;
    double ns;
};

static void *fault_many(void *arg)
{
    struct faulter *f = arg;
    uint64_t at = 0, start = bench_cpu();
    int sum = 0;
    for (uint64_t i = 0; i < FAULTS; i++) {
        sum += oriel_dax_fault(f->dax, f->base + at, ORIEL_DAX_READ);
        at += f->stride;
        at = at >= f->span ? at - f->span : at;
    }
    BENCH_KEEP(sum);
    f->ns = (double)(bench_cpu() - start) / FAULTS;
    return NULL;
}

static double one_faulter(void *arg)
{
    fault_many(arg);
    return ((struct faulter *)arg)->ns;
}

static double two_faulters(void *arg)
{
    struct faulter *f = arg, other = *f;
    pthread_t thread;
    pthread_create(&thread, NULL, fault_many, &other);
    fault_many(f);
    pthread_join(thread, NULL);
    return (f->ns + other.ns) / 2;
}

static void bench_faults(void)
{
    const uint64_t live[] = {1, 10000, 100000, 500000};
    bench_title("fault");
    for (size_t i = 0; i < sizeof(live) / sizeof(live[0]); i++) {
        char what[80];
        struct oriel_dax *dax = session(live[i], 0);
        for (uint64_t k = 0; k < live[i]; k++)
            oriel_dax_setup(dax, 1, k * SLOT, SLOT, k * SLOT, ORIEL_DAX_READ);
        /* Far strides: every fault in another block, in no order that helps the caches. */
        uint64_t span = live[i] * SLOT, stride = live[i] == 1 ? 4096 : (live[i] * 2 / 5 * SLOT | SLOT) + SLOT;
        struct faulter f = {dax, GPA, span, stride % span, 0};
        snprintf(what, sizeof(what), "on a bound slot, %llu live, one thread", (unsigned long long)live[i]);
        bench_value(what, bench_rounds(one_faulter, &f), "ns", "at most 8 ns");
        snprintf(what, sizeof(what), "on a bound slot, %llu live, two threads", (unsigned long long)live[i]);
        bench_value(what, bench_rounds(two_faulters, &f), "ns", "at most 8 ns");
        oriel_dax_destroy(dax);
    }
    struct oriel_dax *dax = session(4096, 0);
    struct faulter f = {dax, 0, UINT64_C(1) << 30, 4096, 0};
    bench_value("outside the window", bench_rounds(one_faulter, &f), "ns", "at most 3 ns");
    oriel_dax_destroy(dax);
}

/* ---- save and load ---- */

struct saver {
    struct oriel_dax *dax;
    unsigned char *blob, *copy;
    size_t size;
    uint64_t repeats;
};

static double save_once(void *arg)
{
    struct saver *s = arg;
    size_t written;
    int err = 0;
    uint64_t start = bench_cpu();
    for (uint64_t i = 0; i < s->repeats; i++)
        err |= oriel_dax_save(s->dax, s->blob, s->size, &written);
    if (err != 0)
        abort();
    return (double)(bench_cpu() - start) / 1000 / (double)s->repeats;
}

static double load_once(void *arg)
{
    struct saver *s = arg;
    int err = 0;
    uint64_t start = bench_cpu();
    for (uint64_t i = 0; i < s->repeats; i++)
        err |= oriel_dax_load(s->dax, s->blob, s->size);
    if (err != 0)
        abort();
    return (double)(bench_cpu() - start) / 1000 / (double)s->repeats;
}

static double copy_once(void *arg)
{
    struct saver *s = arg;
    uint64_t start = bench_cpu();
    for (uint64_t i = 0; i < s->repeats; i++) {
        memcpy(s->copy, s->blob, s->size);
        BENCH_KEEP(s->copy);
    }
    return (double)(bench_cpu() - start) / 1000 / (double)s->repeats;
}

/* What the longest of many setup + remove pairs takes, while another thread saves, or does not. */
struct latency {
    struct oriel_dax *dax;
    uint64_t first;
    _Atomic bool stop;
    double *samples; /* nanoseconds */
    size_t count;
};

static void *save_on_and_on(void *arg)
{
    struct saver *s = arg;
    size_t written;
    while (s->repeats != 0) {
        if (oriel_dax_save(s->dax, s->blob, s->size, &written) != 0)
            abort();
        s->repeats = __atomic_load_n(&s->repeats, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void time_pairs(struct latency *l)
{
    for (size_t i = 0; i < l->count; i++) {
        struct oriel_dax_range range = {(l->first + i * 97 % 1000) * SLOT, SLOT};
        uint64_t start = bench_now();
        oriel_dax_setup(l->dax, 1, 0, SLOT, range.moffset, ORIEL_DAX_READ);
        oriel_dax_fault(l->dax, GPA + range.moffset, ORIEL_DAX_READ);
        oriel_dax_remove(l->dax, &range, 1);
        l->samples[i] = (double)(bench_now() - start);
    }
}

static void bench_waiting(struct saver *s, uint64_t live)
{
    struct latency l = {.dax = s->dax, .first = live, .count = 1000000};
    char what[80];
    double p[2], worst[2];
    l.samples = malloc(l.count * sizeof(double));
    for (int saving = 0; saving < 2; saving++) {
        pthread_t thread;
        s->repeats = 1;
        if (saving)
            pthread_create(&thread, NULL, save_on_and_on, s);
        time_pairs(&l);
        if (saving) {
            __atomic_store_n(&s->repeats, 0, __ATOMIC_RELAXED);
            pthread_join(thread, NULL);
        }
        p[saving] = bench_percentile(l.samples, l.count, 99.99) / 1000;
        worst[saving] = l.samples[l.count - 1] / 1000;
    }
    snprintf(what, sizeof(what), "setup+fault+remove during saves of %llu, p99.99 (floor: none)",
             (unsigned long long)live);
    bench_row(what, p[1], p[0], "us", "under 20 us");
    snprintf(what, sizeof(what), "the longest of a million (floor: no save)");
    bench_row(what, worst[1], worst[0], "us", "the scheduler's");
    free(l.samples);
}

static void bench_saving(void)
{
    const uint64_t live[] = {10000, 500000};
    bench_title("save and load (floor: memcpy of the section)");
    for (size_t i = 0; i < 2; i++) {
        struct saver s = {.dax = session(live[i] + 1024, 0), .repeats = live[i] > 100000 ? 3 : 200};
        char what[80];
        double ours, floor;
        for (uint64_t k = 0; k < live[i]; k++)
            oriel_dax_setup(s.dax, k % 100, k * SLOT, SLOT, k * SLOT, ORIEL_DAX_READ);
        s.size = oriel_dax_save_size(s.dax);
        s.blob = malloc(s.size + 4096);
        s.copy = malloc(s.size + 4096);
        memset(s.copy, 1, s.size);
        bench_against(save_once, &s, copy_once, &s, &ours, &floor);
        snprintf(what, sizeof(what), "save %llu slots", (unsigned long long)live[i]);
        bench_row(what, ours, floor, "us", "at most 2x");
        bench_against(load_once, &s, copy_once, &s, &ours, &floor);
        snprintf(what, sizeof(what), "load %llu slots over as many SAVED ones", (unsigned long long)live[i]);
        bench_row(what, ours, floor, "us", "at most 4x");
        struct saver fresh = s;
        fresh.dax = session(live[i] + 1024, 0);
        fresh.repeats = 1;
        snprintf(what, sizeof(what), "load %llu slots into a session just made", (unsigned long long)live[i]);
        bench_row(what, load_once(&fresh), floor, "us", "");
        oriel_dax_destroy(fresh.dax);
        s.size += 1024;
        bench_waiting(&s, live[i]);
        oriel_dax_destroy(s.dax);
        free(s.blob);
        free(s.copy);
    }
}

static double resident_bytes(void)
{
    unsigned long long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL || fscanf(f, "%llu %llu", &all, &pages) != 2)
        abort();
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void bench_memory(void)
{
    enum { COUNT = 200000 };
    bench_title("memory");
    struct oriel_dax *dax = session(COUNT, 0);
    double before = resident_bytes();
    for (uint64_t k = 0; k < COUNT; k++)
        oriel_dax_setup(dax, 1, k * SLOT, SLOT, k * SLOT, ORIEL_DAX_READ);
    bench_value("a slot of 2 MiB", (resident_bytes() - before) / COUNT, "B ", "at most 64 bytes");
    oriel_dax_destroy(dax);
    dax = session(COUNT, 0);
    before = resident_bytes();
    for (uint64_t k = 0; k < COUNT; k++)
        oriel_dax_setup(dax, 1, 0, 16384, k * 32768, ORIEL_DAX_READ);
    bench_value("a slot of 16 KiB, 64 in a block", (resident_bytes() - before) / COUNT, "B ",
                "at most 64 bytes");
    oriel_dax_destroy(dax);
}

int main(void)
{
    bench_pairs();
    bench_faults();
    bench_saving();
    bench_memory();
    return 0;
}
