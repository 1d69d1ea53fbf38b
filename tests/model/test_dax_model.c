/*
 * Random programs of every call of the DAX session, with failures of source and mapper, against a model that
 * keeps one cell a granule and knows nothing of blocks' words, records or arrays.
 *
 * ORIEL_TEST_SEED replays a run, ORIEL_TEST_STEPS sets its length.
 */
#include "../unit/dax/dax_fixture.h"

#include <time.h>

#include "base/le.h"

#define GRANULE   (64 * KIB)
#define BLOCK     (2 * MIB)
#define PER_BLOCK ((int)(BLOCK / GRANULE))
#define CELLS     (5 * PER_BLOCK + 7) /* five blocks and a short one */
#define WINDOW    (CELLS * GRANULE)
#define MAX_BLOB  (ORIEL_DAXS_HEADER + CELLS * ORIEL_DAXS_ENTRY)
#define BLOBS     4

struct cell {
    uint64_t slot; /* 0: none; cells of one slot have one number */
    uint64_t node, foffset;
    bool write, bound;
    /* what the hypervisor shows */
    bool mapped, mapped_write;
    uint64_t mapped_node, mapped_foffset;
};

struct model {
    struct fixture f;
    struct cell cell[CELLS];
    uint64_t cap_cells, cap_slots, file_size[NODES + 1];
    uint64_t last_slot, seed, step;
    uint64_t state;
    bool verbose;
    unsigned char blob[BLOBS][MAX_BLOB];
    size_t blob_size[BLOBS];
    struct oriel_recorder_counts counts;
};

static struct model m;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            print_error("%s:%d: %s\nseed %llu, step %llu\n", __FILE__, __LINE__, #condition,                 \
                        (unsigned long long)m.seed, (unsigned long long)m.step);                             \
            fail();                                                                                          \
        }                                                                                                    \
    } while (0)

static uint64_t rnd(uint64_t below)
{
    m.state ^= m.state << 13;
    m.state ^= m.state >> 7;
    m.state ^= m.state << 17;
    return (m.state >> 11) % below;
}

/* ---- the model's own rules ---- */

static uint64_t cells_used(void)
{
    uint64_t n = 0;
    for (int i = 0; i < CELLS; i++)
        n += m.cell[i].slot != 0;
    return n;
}

static uint64_t slots_used(void)
{
    uint64_t n = 0;
    for (int i = 0; i < CELLS; i++)
        n += m.cell[i].slot != 0 && (i == 0 || m.cell[i - 1].slot != m.cell[i].slot);
    return n;
}

static bool same_piece(int a, int b)
{
    return m.cell[a].slot == m.cell[b].slot && a / PER_BLOCK == b / PER_BLOCK;
}

static void slot_of(int i, int *from, int *to)
{
    for (*from = i; *from > 0 && m.cell[*from - 1].slot == m.cell[i].slot; --*from) {
    }
    for (*to = i + 1; *to < CELLS && m.cell[*to].slot == m.cell[i].slot; ++*to) {
    }
}

static void hide(int from, int to)
{
    for (int i = from; i < to; i++)
        m.cell[i].mapped = false;
}

static void show(int from, int to)
{
    for (int i = from; i < to; i++) {
        struct cell *c = &m.cell[i];
        c->mapped = true;
        c->mapped_node = c->node;
        c->mapped_foffset = c->foffset;
        c->mapped_write = c->write;
    }
}

/* The mapper lost [from, to): every piece that reaches into it is SAVED. */
static void lose(int from, int to)
{
    hide(from, to);
    for (int i = 0; i < CELLS; i++) {
        for (int k = from; k < to; k++) {
            if (m.cell[i].slot != 0 && same_piece(i, k))
                m.cell[i].bound = false;
        }
    }
}

/* Slots are told apart by number: what lies behind a hole or a new slot gets another one. */
static void renumber_behind(int to, uint64_t slot_before)
{
    if (to >= CELLS || m.cell[to].slot == 0 || m.cell[to].slot != slot_before)
        return;
    uint64_t fresh = ++m.last_slot;
    for (int i = to; i < CELLS && m.cell[i].slot == slot_before; i++)
        m.cell[i].slot = fresh;
}

static void clear(int from, int to)
{
    uint64_t last = m.cell[to - 1].slot;
    for (int i = from; i < to; i++)
        m.cell[i].slot = 0;
    if (last != 0)
        renumber_behind(to, last);
}

/* ---- failures on demand ---- */

struct trouble {
    int source; /* errno or 0 */
    int mapper;
    bool lost;
};

static struct trouble some_trouble(void)
{
    static const int errors[] = {-EIO, -ENOSPC, -EACCES, -ENODEV};
    struct trouble t = {0};
    if (rnd(10) == 0)
        t.source = errors[rnd(4)];
    if (rnd(6) == 0) {
        t.mapper = errors[rnd(4)];
        t.lost = rnd(2);
    }
    m.f.fail_acquire = t.source;
    oriel_recorder_fail_at(m.f.recorder, t.mapper != 0, t.mapper,
                           t.lost ? ORIEL_RANGE_LOST : ORIEL_RANGE_KEPT);
    return t;
}

static void end_trouble(void)
{
    m.f.fail_acquire = 0;
    oriel_recorder_fail_at(m.f.recorder, 0, 0, ORIEL_RANGE_KEPT);
}

static int source_error(const struct trouble *t, uint64_t node, bool write)
{
    if (t->source != 0)
        return t->source;
    if (node == 0 || node > NODES)
        return -ENOENT;
    return node == READ_ONLY_NODE && write ? -EACCES : 0;
}

/* ---- steps ---- */

static void some_range(int *from, int *to)
{
    static const int lengths[] = {1, 2, 5, 31, 32, 33, 64, 65, 96};
    *from = (int)rnd(CELLS);
    int len = rnd(3) == 0 ? PER_BLOCK : lengths[rnd(9)];
    if (rnd(3) == 0)
        *from -= *from % PER_BLOCK;
    *to = *from + len < CELLS ? *from + len : CELLS;
}

static int expected_setup(int from, int to, uint64_t node, bool write, const struct trouble *t)
{
    uint64_t covered = 0;
    for (int i = from; i < to; i++)
        covered += m.cell[i].slot != 0;
    if (cells_used() - covered + (uint64_t)(to - from) > m.cap_cells)
        return -ENOSPC;
    struct cell before[CELLS];
    uint64_t last_slot = m.last_slot, slots = slots_used();
    memcpy(before, m.cell, sizeof(before));
    clear(from, to);
    uint64_t after = slots_used() + 1;
    memcpy(m.cell, before, sizeof(before));
    m.last_slot = last_slot;
    if (m.cap_slots != 0 && after > m.cap_slots && after > slots)
        return -ENOSPC;
    int err = source_error(t, node, write);
    return err != 0 ? err : t->mapper;
}

static void step_setup(void)
{
    int from, to;
    some_range(&from, &to);
    uint64_t node = rnd(20) == 0 ? 99 : 1 + rnd(NODES), foffset = rnd(40) * GRANULE;
    bool write = rnd(2);
    if (rnd(3) == 0 && m.cell[from].slot != 0) { /* the guest's upgrade in place */
        slot_of(from, &from, &to);
        node = m.cell[from].node;
        foffset = m.cell[from].foffset;
        write = true;
    }
    struct trouble t = some_trouble();
    int want = expected_setup(from, to, node, write, &t);
    int got = oriel_dax_setup(m.f.dax, node, foffset, (uint64_t)(to - from) * GRANULE,
                              (uint64_t)from * GRANULE, write ? RW : R);
    end_trouble();
    CHECK(got == want);
    if (want != 0) {
        if (want == t.mapper && t.lost && oriel_recorder_counts(m.f.recorder).failures > m.counts.failures)
            lose(from, to);
        return;
    }
    clear(from, to);
    uint64_t fresh = ++m.last_slot;
    for (int i = from; i < to; i++)
        m.cell[i] = (struct cell){.slot = fresh,
                                  .node = node,
                                  .foffset = foffset + (uint64_t)(i - from) * GRANULE,
                                  .write = write,
                                  .bound = true};
    show(from, to);
}

static void step_bad_setup(void)
{
    const uint64_t odd = 1 + rnd(GRANULE - 1);
    struct oriel_dax *d = m.f.dax;
    switch (rnd(6)) {
    case 0:
        CHECK(oriel_dax_setup(d, 1, odd, GRANULE, 0, R) == -EINVAL);
        break;
    case 1:
        CHECK(oriel_dax_setup(d, 1, 0, GRANULE + odd, 0, R) == -EINVAL);
        break;
    case 2:
        CHECK(oriel_dax_setup(d, 1, 0, GRANULE, odd, R) == -EINVAL);
        break;
    case 3:
        CHECK(oriel_dax_setup(d, 1, 0, WINDOW, GRANULE * (1 + rnd(UINT64_C(1) << 47)), R) == -EINVAL);
        break;
    case 4:
        CHECK(oriel_dax_setup(d, 1, (UINT64_C(1) << 63) - GRANULE * (1 + rnd(2)), 2 * GRANULE, 0, R) ==
              -EINVAL);
        break;
    default:
        CHECK(oriel_dax_setup(d, 1, 0, GRANULE, 0, (uint32_t)rnd(8) & ~UINT32_C(3)) == -EINVAL);
        break;
    }
}

static int expected_remove(int from, int to, const struct trouble *t)
{
    bool shown = false;
    for (int i = from; i < to; i++)
        shown = shown || m.cell[i].slot != 0;
    if (!shown)
        return 0;
    struct cell before[CELLS];
    uint64_t last_slot = m.last_slot, slots = slots_used();
    memcpy(before, m.cell, sizeof(before));
    clear(from, to);
    uint64_t after = slots_used();
    memcpy(m.cell, before, sizeof(before));
    m.last_slot = last_slot;
    if (m.cap_slots != 0 && after > slots && after > m.cap_slots)
        return -ENOSPC;
    return t->mapper == 0 || t->lost ? 0 : t->mapper == -ENOSPC ? -ENOSPC : -EIO;
}

static void step_remove(void)
{
    int from, to;
    some_range(&from, &to);
    struct trouble t = some_trouble();
    struct oriel_dax_range range = {(uint64_t)from * GRANULE, (uint64_t)(to - from) * GRANULE};
    int want = expected_remove(from, to, &t), got = oriel_dax_remove(m.f.dax, &range, 1);
    end_trouble();
    CHECK(got == want);
    if (want != 0)
        return;
    /* One call from the first to the last byte that is shown. */
    int first = from, last = to;
    while (first < last && m.cell[first].slot == 0)
        first++;
    while (last > first && m.cell[last - 1].slot == 0)
        last--;
    hide(first, last);
    clear(from, to);
}

/* No failures, and no cap on slots here: the order in which entries are served is the session's own. */
static void step_remove_list(void)
{
    struct oriel_dax_range list[6];
    size_t count = rnd(7);
    int want = 0;
    if (m.cap_slots != 0)
        return;
    for (size_t i = 0; i < count; i++) {
        int from, to;
        some_range(&from, &to);
        list[i] = (struct oriel_dax_range){(uint64_t)from * GRANULE, (uint64_t)(to - from) * GRANULE};
        if (rnd(8) == 0) {
            list[i].moffset += rnd(2) == 0 ? WINDOW : 4096;
            want = -EINVAL;
            continue;
        }
        for (int k = from; k < to; k++)
            m.cell[k].mapped = m.cell[k].mapped && m.cell[k].slot == 0;
        clear(from, to);
    }
    CHECK(oriel_dax_remove(m.f.dax, list, count) == want);
    /* What is shown nowhere and lay between two removed slots may have been unmapped with them. */
    for (int i = 0; i < CELLS; i++) {
        if (m.cell[i].slot == 0)
            m.cell[i].mapped =
                oriel_recorder_at(m.f.recorder, (uint64_t)i * GRANULE).mapped && m.cell[i].mapped;
    }
}

static bool past_end(int i, uint64_t inside)
{
    return ((m.cell[i].foffset + inside) & ~UINT64_C(4095)) >= m.file_size[m.cell[i].node];
}

/* The cells around i that one bind maps. */
static void saved_run(int i, int *from, int *to)
{
    slot_of(i, from, to);
    for (int k = i; k >= *from; k--) {
        if (m.cell[k].bound)
            *from = k + 1;
    }
    for (int k = i; k < *to; k++) {
        if (m.cell[k].bound)
            *to = k;
    }
}

/* What binding for an access does to the model, and its result. */
static int model_bind(int i, uint64_t inside, bool write, bool eof_check, const struct trouble *t)
{
    struct cell *c = &m.cell[i];
    if (c->slot == 0)
        return ORIEL_FAULT_UNMAPPED;
    bool upgrade = write && !c->write;
    if (c->bound && !upgrade)
        return ORIEL_FAULT_RESUME;
    int err = source_error(t, c->node, upgrade || c->write), from, to;
    if (err != 0)
        return err;
    if (eof_check && past_end(i, inside))
        return -ENODATA;
    if (upgrade)
        slot_of(i, &from, &to);
    else
        saved_run(i, &from, &to);
    if (t->mapper != 0) {
        if (t->lost)
            lose(from, to);
        return t->mapper;
    }
    for (int k = from; k < to; k++) {
        m.cell[k].bound = true;
        m.cell[k].write = m.cell[k].write || upgrade;
    }
    show(from, to);
    return ORIEL_FAULT_RESUME;
}

static void step_fault(void)
{
    int i = (int)rnd(CELLS);
    uint64_t inside = rnd(2) == 0 ? rnd(2) * (GRANULE - 1) : rnd(GRANULE);
    bool write = rnd(2);
    struct trouble t = some_trouble();
    int want = model_bind(i, inside, write, true, &t);
    int got = oriel_dax_fault(m.f.dax, GPA + (uint64_t)i * GRANULE + inside, write ? ORIEL_DAX_WRITE : R);
    end_trouble();
    CHECK(got == want);
}

static void step_bind(void)
{
    int from, to, want = 0;
    bool write = rnd(2);
    some_range(&from, &to);
    struct trouble t = {0};
    for (int i = from; i < to && want == 0; i++) {
        want = model_bind(i, 0, write, false, &t);
        want = want == ORIEL_FAULT_UNMAPPED || want == -EACCES ? -EFAULT : want;
    }
    uint64_t gpa = GPA + (uint64_t)from * GRANULE, len = (uint64_t)(to - from) * GRANULE;
    CHECK(oriel_dax_bind(m.f.dax, gpa + 17, len - 17 - rnd(100), write ? ORIEL_DAX_WRITE : R) == want);
}

static void step_bind_all(void)
{
    int64_t bound = 0, first_err = 0;
    const struct trouble none = {0};
    for (int block = 0; block * PER_BLOCK < CELLS; block++) {
        int end = (block + 1) * PER_BLOCK < CELLS ? (block + 1) * PER_BLOCK : CELLS;
        for (int i = block * PER_BLOCK; i < end; i++) {
            if (m.cell[i].slot == 0 || m.cell[i].bound)
                continue;
            int from, to, result = model_bind(i, 0, false, false, &none);
            bound += result == ORIEL_FAULT_RESUME;
            first_err = first_err == 0 && result < 0 ? result : first_err;
            slot_of(i, &from, &to);
            i = to - 1;
        }
    }
    CHECK(oriel_dax_bind_all(m.f.dax) == (first_err != 0 ? first_err : bound));
}

/* The section that the model expects. */
static size_t model_save(unsigned char *blob)
{
    size_t count = 0;
    memset(blob, 0, ORIEL_DAXS_HEADER);
    memcpy(blob, "DAXS", 4);
    le32_store(blob + 4, 1);
    le64_store(blob + 8, GPA);
    le64_store(blob + 16, WINDOW);
    le64_store(blob + 24, m.cap_cells * GRANULE);
    le64_store(blob + 32, cells_used() * GRANULE);
    for (int i = 0; i < CELLS; i++) {
        if (m.cell[i].slot == 0)
            continue;
        int from, to;
        slot_of(i, &from, &to);
        unsigned char *at = blob + ORIEL_DAXS_HEADER + count++ * ORIEL_DAXS_ENTRY;
        le64_store(at, (uint64_t)i * GRANULE);
        le64_store(at + 8, (uint64_t)(to - i) * GRANULE);
        le64_store(at + 16, m.cell[i].node);
        le64_store(at + 24, m.cell[i].foffset);
        le64_store(at + 32, m.cell[i].write ? RW : R);
        i = to - 1;
    }
    le64_store(blob + 40, count);
    return ORIEL_DAXS_HEADER + count * ORIEL_DAXS_ENTRY;
}

static void step_save(void)
{
    unsigned char want[MAX_BLOB], got[MAX_BLOB];
    size_t want_size = model_save(want), got_size = 0;
    CHECK(oriel_dax_save(m.f.dax, got, sizeof(got), &got_size) == 0);
    for (size_t i = 0; m.verbose && (i * 40 + 48 < want_size || i * 40 + 48 < got_size); i++) {
        const struct oriel_dax_slot w = oriel_daxs_entry(want, i), g = oriel_daxs_entry(got, i);
        if (memcmp(&w, &g, sizeof(w)) != 0)
            print_message(
                "# want %llx+%llx node %llu off %llx prot %u, got %llx+%llx node %llu off %llx prot %u\n",
                (unsigned long long)w.moffset, (unsigned long long)w.len, (unsigned long long)w.nodeid,
                (unsigned long long)w.foffset, w.prot, (unsigned long long)g.moffset,
                (unsigned long long)g.len, (unsigned long long)g.nodeid, (unsigned long long)g.foffset,
                g.prot);
    }
    CHECK(got_size == want_size && memcmp(got, want, want_size) == 0);
    size_t keep = rnd(BLOBS);
    memcpy(m.blob[keep], got, got_size);
    m.blob_size[keep] = got_size;
}

static void model_load(const unsigned char *blob)
{
    memset(m.cell, 0, sizeof(m.cell));
    uint64_t count = le64_load(blob + 40);
    for (uint64_t k = 0; k < count; k++) {
        const struct oriel_dax_slot slot = oriel_daxs_entry(blob, k);
        uint64_t number = ++m.last_slot;
        for (uint64_t at = 0; at < slot.len; at += GRANULE)
            m.cell[(slot.moffset + at) / GRANULE] =
                (struct cell){.slot = number,
                              .node = slot.nodeid,
                              .foffset = slot.foffset + at,
                              .write = (slot.prot & ORIEL_DAX_WRITE) != 0};
    }
}

static void step_load(void)
{
    size_t which = rnd(BLOBS), size = m.blob_size[which];
    unsigned char blob[MAX_BLOB];
    if (size == 0)
        return;
    memcpy(blob, m.blob[which], size);
    if (rnd(2) == 0) { /* damaged: refused, or another valid section */
        blob[rnd(size)] ^= (unsigned char)(1u << rnd(8));
        struct oriel_dax *dax = m.f.dax;
        int err = oriel_dax_load(dax, blob, size);
        CHECK(err != -EAGAIN && err <= 0);
        if (err == 0)
            model_load(blob);
        return;
    }
    some_trouble();
    int err = oriel_dax_load(m.f.dax, blob, size);
    end_trouble();
    CHECK(err == 0); /* an unmap that fails is tried again, block by block, and only one call fails */
    if (err == 0)
        model_load(blob);
}

static void step_reset(void)
{
    some_trouble();
    oriel_dax_reset(m.f.dax);
    end_trouble();
    memset(m.cell, 0, sizeof(m.cell));
}

/* ---- comparison ---- */

static void compare(void)
{
    uint64_t bound = 0;
    for (int i = 0; i < CELLS; i++) {
        const struct cell *c = &m.cell[i];
        struct oriel_recorded got = oriel_recorder_at(m.f.recorder, (uint64_t)i * GRANULE);
        if (got.mapped != c->mapped)
            print_error("cell %d: slot %llu, model %d, recorder %d\n", i, (unsigned long long)c->slot,
                        c->mapped, got.mapped);
        CHECK(got.mapped == c->mapped);
        if (c->mapped && got.ino != m.f.inos[c->mapped_node])
            print_error("cell %d: slot %llu shows another file\n", i, (unsigned long long)c->slot);
        if (c->mapped && (got.file_offset != c->mapped_foffset || got.prot != (c->mapped_write ? RW : R)))
            print_error("cell %d: slot %llu offset %llx want %llx prot %u want write %d\n", i,
                        (unsigned long long)c->slot, (unsigned long long)got.file_offset,
                        (unsigned long long)c->mapped_foffset, got.prot, c->mapped_write);
        CHECK(!c->mapped || (got.ino == m.f.inos[c->mapped_node] && got.file_offset == c->mapped_foffset &&
                             got.prot == (c->mapped_write ? RW : R)));
        bound += c->slot != 0 && c->bound && (i == 0 || m.cell[i - 1].slot != c->slot);
        /* Bound means shown, as the table says. */
        CHECK(c->slot == 0 || !c->bound ||
              (c->mapped && c->mapped_node == c->node && c->mapped_foffset == c->foffset));
    }
    struct oriel_dax_stats stats;
    oriel_dax_stats(m.f.dax, &stats);
    CHECK(stats.mapped_bytes == cells_used() * GRANULE);
    CHECK(stats.slots == slots_used());
    CHECK(stats.bound == bound);
    struct oriel_recorder_counts counts = oriel_recorder_counts(m.f.recorder);
    CHECK(counts.violations == 0);
    CHECK(stats.maps == counts.maps && stats.unmaps == counts.unmaps);
    CHECK(m.f.acquired == 0);
}

static void one_step(void)
{
    m.counts = oriel_recorder_counts(m.f.recorder);
    uint64_t pick = rnd(1000);
    if (m.verbose)
        print_message("# step %llu: pick %llu\n", (unsigned long long)m.step, (unsigned long long)pick);
    if (pick < 350)
        step_setup();
    else if (pick < 365)
        step_bad_setup();
    else if (pick < 530)
        step_remove();
    else if (pick < 570)
        step_remove_list();
    else if (pick < 900)
        step_fault();
    else if (pick < 930)
        step_bind();
    else if (pick < 940)
        step_bind_all();
    else if (pick < 975)
        step_save();
    else if (pick < 992)
        step_load();
    else
        step_reset();
}

/* One session, one program. */
static void run_program(uint64_t steps)
{
    m.cap_cells = rnd(3) == 0 ? 1 + rnd(CELLS) : CELLS;
    m.cap_slots = rnd(3) == 0 ? 1 + rnd(20) : 0;
    memset(m.cell, 0, sizeof(m.cell));
    memset(m.blob_size, 0, sizeof(m.blob_size));
    fixture_open(&m.f, WINDOW);
    oriel_recorder_destroy(m.f.recorder);
    assert_int_equal(oriel_recorder_create(WINDOW, GRANULE, &m.f.recorder), 0);
    struct oriel_dax_options options = fixture_options(&m.f, WINDOW);
    options.granule = GRANULE;
    options.cap_bytes = m.cap_cells * GRANULE;
    options.cap_slots = m.cap_slots;
    assert_int_equal(oriel_dax_create(&options, &m.f.dax), 0);
    for (int node = 1; node <= NODES; node++) {
        m.file_size[node] = rnd(60) * GRANULE + rnd(GRANULE);
        assert_int_equal(ftruncate(m.f.fds[node], (off_t)m.file_size[node]), 0);
    }
    for (uint64_t i = 0; i < steps; i++, m.step++) {
        one_step();
        if (i % 8 == 0 || m.verbose)
            compare();
    }
    compare();
    fixture_stop(&m.f);
}

static void the_session_agrees_with_a_naive_model(void **state)
{
    (void)state;
    const char *seed = getenv("ORIEL_TEST_SEED"), *steps = getenv("ORIEL_TEST_STEPS");
    m.seed = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + (uint64_t)getpid();
    uint64_t wanted = steps != NULL ? strtoull(steps, NULL, 0) : 4000000;
    m.verbose = getenv("ORIEL_TEST_VERBOSE") != NULL; /* which step does what, compared after each */
    m.state = m.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    print_message("# seed %llu, %llu steps\n", (unsigned long long)m.seed, (unsigned long long)wanted);
    while (m.step < wanted)
        run_program(20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_session_agrees_with_a_naive_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
