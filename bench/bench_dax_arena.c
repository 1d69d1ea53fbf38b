/* The DAX session over the arena: against the bare mmap calls, under a spinning reader, and a guest's first touch. */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include <oriel/dax.h>

#include "../tests/unit/mapper/tiny_guest.h"

#define SLOT (UINT64_C(2) << 20)

static int file = -1;

static int acquire(void *opaque, uint64_t nodeid, uint32_t prot, struct oriel_dax_file *out)
{
    (void)opaque, (void)nodeid, (void)prot;
    out->fd = file;
    out->max_prot = ORIEL_DAX_READ | ORIEL_DAX_WRITE;
    return 0;
}

static void release(void *opaque, const struct oriel_dax_file *released)
{
    (void)opaque, (void)released;
}

struct rig {
    struct oriel_arena *arena;
    struct oriel_dax *dax;
    char *base;
    uint64_t slots, live;
};

static void rig_open(struct rig *r, uint64_t slots, uint64_t live)
{
    const struct oriel_arena_options arena = {
        .size = sizeof(arena), .window_gpa = GUEST_WINDOW, .window_len = slots * SLOT};
    const struct oriel_dax_source source = {.size = sizeof(source), .acquire = acquire, .release = release};
    *r = (struct rig){.slots = slots, .live = live};
    if (oriel_arena_create(&arena, &r->arena) != 0)
        abort();
    const struct oriel_dax_options options = {.size = sizeof(options),
                                              .window_gpa = GUEST_WINDOW,
                                              .window_len = slots * SLOT,
                                              .source = &source,
                                              .mapper = oriel_arena_mapper(r->arena)};
    if (oriel_dax_create(&options, &r->dax) != 0)
        abort();
    r->base = oriel_arena_base(r->arena);
    /* Every other slot of the file, so that the kernel cannot join neighbours. */
    for (uint64_t k = 0; k < live; k++) {
        if (oriel_dax_setup(r->dax, 1, k * 2 * SLOT, SLOT, k * SLOT, ORIEL_DAX_READ) != 0)
            abort();
    }
}

static void rig_close(struct rig *r)
{
    oriel_dax_destroy(r->dax);
    oriel_arena_destroy(r->arena);
}

/* ---- pairs ---- */

#define PAIRS 4000

struct pairs {
    struct rig *rig;
    bool bare;
    double samples[PAIRS];
};

static double run_pairs(void *arg)
{
    struct pairs *p = arg;
    struct rig *r = p->rig;
    for (uint64_t i = 0; i < PAIRS; i++) {
        uint64_t moffset = (r->live + i * 7 % 64 * 2) * SLOT;
        struct oriel_dax_range range = {moffset, SLOT};
        uint64_t start = bench_now();
        if (p->bare) {
            mmap(r->base + moffset, SLOT, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0);
            mmap(r->base + moffset, SLOT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                 -1, 0);
        } else {
            oriel_dax_setup(r->dax, 1, 0, SLOT, moffset, ORIEL_DAX_READ);
            oriel_dax_remove(r->dax, &range, 1);
        }
        p->samples[i] = (double)(bench_now() - start);
    }
    return bench_percentile(p->samples, PAIRS, 50);
}

static void bench_pairs(void)
{
    const uint64_t live[] = {1, 100, 1000, 10000};
    bench_title("setup + remove with the arena on tmpfs (floor: the two bare mmap calls)");
    for (size_t i = 0; i < sizeof(live) / sizeof(live[0]); i++) {
        static struct pairs ours, bare;
        struct rig r;
        char what[80];
        double ours50[BENCH_ROUNDS], bare50[BENCH_ROUNDS], ours99[BENCH_ROUNDS], bare99[BENCH_ROUNDS];
        rig_open(&r, live[i] + 256, live[i]);
        ours = (struct pairs){.rig = &r};
        bare = (struct pairs){.rig = &r, .bare = true};
        run_pairs(&ours);
        run_pairs(&bare);
        for (int k = 0; k < BENCH_ROUNDS; k++) {
            ours50[k] = run_pairs(&ours);
            bare50[k] = run_pairs(&bare);
            ours99[k] = bench_percentile(ours.samples, PAIRS, 99);
            bare99[k] = bench_percentile(bare.samples, PAIRS, 99);
        }
        snprintf(what, sizeof(what), "%llu live, p50", (unsigned long long)live[i]);
        bench_row(what, bench_median(ours50, BENCH_ROUNDS), bench_median(bare50, BENCH_ROUNDS), "ns",
                  "at most 1.10x");
        snprintf(what, sizeof(what), "%llu live, p99", (unsigned long long)live[i]);
        bench_row(what, bench_median(ours99, BENCH_ROUNDS), bench_median(bare99, BENCH_ROUNDS), "ns",
                  "at most 1.10x");
        rig_close(&r);
    }
}

/* ---- bind on fault ---- */

static unsigned char blob[ORIEL_DAXS_HEADER + 10000 * ORIEL_DAXS_ENTRY];

static void make_saved(struct rig *r)
{
    size_t size;
    if (oriel_dax_save(r->dax, blob, sizeof(blob), &size) != 0 || oriel_dax_load(r->dax, blob, size) != 0)
        abort();
}

static double bind_by_fault(void *arg)
{
    struct rig *r = arg;
    make_saved(r);
    uint64_t start = bench_now();
    for (uint64_t k = 0; k < r->live; k++)
        oriel_dax_fault(r->dax, GUEST_WINDOW + k * SLOT, ORIEL_DAX_READ);
    return (double)(bench_now() - start) / (double)r->live;
}

static double bind_bare(void *arg)
{
    struct rig *r = arg;
    make_saved(r);
    uint64_t start = bench_now();
    for (uint64_t k = 0; k < r->live; k++)
        mmap(r->base + k * SLOT, SLOT, PROT_READ, MAP_SHARED | MAP_FIXED, file, (off_t)(k * 2 * SLOT));
    return (double)(bench_now() - start) / (double)r->live;
}

static void bench_binding(void)
{
    struct rig r;
    double ours, bare;
    bench_title("bind on fault, mmap included (floor: the bare mmap)");
    rig_open(&r, 2048, 1000);
    bench_against(bind_by_fault, &r, bind_bare, &r, &ours, &bare);
    bench_row("1,000 slots, each bound by its own fault", ours, bare, "ns", "at most 1.2x");
    rig_close(&r);
}

/* ---- a guest ---- */

struct spinner {
    struct tiny_guest *guest;
    _Atomic bool stop;
    uint64_t runs, faults;
};

static void *spin_in_guest(void *arg)
{
    struct spinner *s = arg;
    uint64_t value;
    while (!s->stop) {
        guest_set(s->guest, GUEST_SPIN, GUEST_WINDOW + 64, 0, 20000, 0);
        while (guest_run(s->guest, &value) != 0)
            s->faults++;
        s->runs++;
    }
    return NULL;
}

static void bench_replace(void)
{
    struct rig r;
    struct tiny_guest guest;
    struct spinner s = {.guest = &guest};
    pthread_t thread;
    bench_title("replace in place under a guest that spins loading from the range");
    rig_open(&r, 64, 1);
    int err = guest_open(&guest, r.base, 64 * SLOT);
    if (err != 0) {
        printf("no guest on /dev/kvm here (%d)\n", err);
        guest_close(&guest);
        rig_close(&r);
        return;
    }
    pthread_create(&thread, NULL, spin_in_guest, &s);
    uint64_t start = bench_now();
    for (int i = 0; i < 20000; i++)
        oriel_dax_setup(r.dax, 1, 0, SLOT, 0, i % 2 == 0 ? 3 : 1);
    double each = (double)(bench_now() - start) / 20000;
    s.stop = true;
    pthread_join(thread, NULL);
    bench_value("20,000 replacements, each", each, "ns", "");
    bench_value("faults that the guest saw", (double)s.faults, "  ", "none");
    bench_value("times the guest went round meanwhile, in 20,000", (double)s.runs, "  ", "more than 0");
    guest_close(&guest);
    rig_close(&r);
}

/* The guest loads once from each of the restored slots, one after the other. */
static double first_touch(struct rig *r, struct tiny_guest *guest, struct oriel_arena_uffd *uffd,
                          uint64_t slots)
{
    uint64_t value;
    make_saved(r);
    if (oriel_arena_uffd_arm(uffd) < 0)
        abort();
    guest_set(guest, GUEST_WALK, GUEST_WINDOW, 0, slots, SLOT);
    uint64_t start = bench_now();
    if (guest_run(guest, &value) != 0)
        abort();
    return (double)(bench_now() - start) / 1e6;
}

static double touch_rounds(struct rig *r, struct tiny_guest *guest, uint64_t ahead, bool on_touch_only,
                           uint64_t slots)
{
    const struct oriel_arena_uffd_options options = {.size = sizeof(options),
                                                     .arena = r->arena,
                                                     .dax = r->dax,
                                                     .ahead_bytes = ahead,
                                                     .on_touch_only = on_touch_only};
    struct oriel_arena_uffd *uffd = NULL;
    double samples[3];
    if (oriel_arena_uffd_start(&options, &uffd) != 0)
        return -1;
    for (int i = 0; i < 3; i++)
        samples[i] = first_touch(r, guest, uffd, slots);
    oriel_arena_uffd_stop(uffd);
    return bench_median(samples, 3);
}

static void bench_first_touch(bool contiguous)
{
    enum { SLOTS = 10000 };
    struct rig r;
    struct tiny_guest guest;
    rig_open(&r, SLOTS, contiguous ? 0 : SLOTS);
    for (uint64_t k = 0; contiguous && k < SLOTS; k++)
        oriel_dax_setup(r.dax, 1, k * SLOT, SLOT, k * SLOT, ORIEL_DAX_READ);
    int err = guest_open(&guest, r.base, SLOTS * SLOT);
    double one = err == 0 ? touch_rounds(&r, &guest, 1, true, SLOTS) : -1;
    if (one < 0)
        printf("no guest on /dev/kvm or no userfaultfd here (%d)\n", err);
    else {
        double all = touch_rounds(&r, &guest, 0, false, SLOTS);
        bench_row(contiguous ? "slots that continue each other in the file" : "slots that do not", all, one,
                  "ms", "at most 0.5x");
    }
    guest_close(&guest);
    rig_close(&r);
}

int main(void)
{
    file = memfd_create("bench", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)(30000 * SLOT)) != 0)
        abort();
    bench_pairs();
    bench_binding();
    bench_replace();
    bench_title(
        "first touch of 10,000 restored slots by a guest, in order, with userfaultfd (floor: one by one)");
    bench_first_touch(true);
    bench_first_touch(false);
    close(file);
    return 0;
}
