#include "dax_fixture.h"

#include "base/checked.h"
#include "base/le.h"

#define HEAD  ORIEL_DAXS_HEADER
#define ENTRY ORIEL_DAXS_ENTRY

static unsigned char *save(struct fixture *f, size_t *size)
{
    *size = oriel_dax_save_size(f->dax);
    unsigned char *blob = malloc(*size);
    assert_non_null(blob);
    size_t written = 0;
    assert_int_equal(oriel_dax_save(f->dax, blob, *size, &written), 0);
    assert_int_equal(written, *size);
    return blob;
}

static size_t make_blob(unsigned char *blob, uint64_t window_len, const struct oriel_dax_slot *slots,
                        size_t count)
{
    uint64_t sum = 0;
    memcpy(blob, "DAXS", 4);
    le32_store(blob + 4, 1);
    le64_store(blob + 8, GPA);
    le64_store(blob + 16, window_len);
    le64_store(blob + 24, window_len);
    le64_store(blob + 40, count);
    for (size_t i = 0; i < count; i++) {
        unsigned char *at = blob + HEAD + i * ENTRY;
        le64_store(at, slots[i].moffset);
        le64_store(at + 8, slots[i].len);
        le64_store(at + 16, slots[i].nodeid);
        le64_store(at + 24, slots[i].foffset);
        le32_store(at + 32, slots[i].prot);
        le32_store(at + 36, 0);
        sum += slots[i].len;
    }
    le64_store(blob + 32, sum);
    return HEAD + count * ENTRY;
}

static void the_layout_is_the_documented_one_byte_for_byte(void **state)
{
    (void)state;
    static const unsigned char wanted[] = {
        'D', 'A',  'X',  'S', 1, 0, 0, 0, /* version */
        0,   0,    0,    0,   1, 0, 0, 0, /* gpa 4 GiB */
        0,   0,    0,    4,   0, 0, 0, 0, /* 64 MiB */
        0,   0,    0x60, 0,   0, 0, 0, 0, /* cap 6 MiB */
        0,   0x40, 0x20, 0,   0, 0, 0, 0, /* 2 MiB + 16 KiB */
        2,   0,    0,    0,   0, 0, 0, 0, /* entries */
        0,   0x40, 0,    0,   0, 0, 0, 0, /* moffset 16 KiB */
        0,   0x40, 0,    0,   0, 0, 0, 0, /* len 16 KiB */
        7,   0,    0,    0,   0, 0, 0, 0, /* node */
        0,   0x80, 0,    0,   0, 0, 0, 0, /* foffset 32 KiB */
        1,   0,    0,    0,   0, 0, 0, 0, /* READ */
        0,   0,    0x40, 0,   0, 0, 0, 0, /* moffset 4 MiB */
        0,   0,    0x20, 0,   0, 0, 0, 0, /* len 2 MiB */
        5,   0,    0,    0,   0, 0, 0, 0, /* node */
        0,   0,    0,    0,   0, 0, 0, 0, /* foffset */
        3,   0,    0,    0,   0, 0, 0, 0, /* READ | WRITE */
    };
    struct fixture f;
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = 64 * MIB, .cap_bytes = 6 * MIB});
    assert_int_equal(oriel_dax_setup(f.dax, 5, 0, SLOT, 4 * MIB, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 7, 2 * G, G, G, R), 0);
    size_t size;
    unsigned char *blob = save(&f, &size);
    assert_int_equal(size, sizeof(wanted));
    assert_memory_equal(blob, wanted, sizeof(wanted));
    free(blob);
    fixture_stop(&f);
}

static void saved_and_loaded_is_the_same(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 3 * GIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, G, G, SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, SLOT, G, SLOT + 2 * G, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, SLOT, 2 * SLOT, 2 * SLOT - 3 * G, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 0, G, 4 * SLOT - 3 * G, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 0, 5 * SLOT, 2 * GIB, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 5 * SLOT, 3 * SLOT, 2 * GIB + 5 * SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 4, 0, 3 * G, 3 * GIB - 3 * G, R), 0);
    size_t size, again_size;
    unsigned char *blob = save(&f, &size);
    struct oriel_dax_stats before = fixture_stats(&f);
    for (int twice = 0; twice < 2; twice++) {
        uint64_t maps = oriel_recorder_counts(f.recorder).maps;
        assert_int_equal(oriel_dax_load(f.dax, blob, size), 0);
        assert_int_equal(oriel_recorder_counts(f.recorder).maps, maps);
        assert_int_equal(oriel_recorder_counts(f.recorder).mapped_bytes, 0);
        struct oriel_dax_stats stats = fixture_stats(&f);
        assert_int_equal(stats.slots, before.slots);
        assert_int_equal(stats.saved, before.slots);
        assert_int_equal(stats.mapped_bytes, before.mapped_bytes);
        unsigned char *again = save(&f, &again_size);
        assert_int_equal(again_size, size);
        assert_memory_equal(again, blob, size);
        free(again);
    }
    assert_int_equal(oriel_dax_bind_all(f.dax), before.slots);
    assert_shows(&f, 2 * SLOT - 3 * G, 2 * SLOT, 2, SLOT, RW);
    assert_shows(&f, 2 * GIB, 8 * SLOT, 3, 0, R);
    assert_int_equal(oriel_recorder_counts(f.recorder).mapped_bytes, before.mapped_bytes);
    oriel_dax_reset(f.dax);
    assert_int_equal(oriel_dax_load(f.dax, blob, size), 0);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 2 * GIB + 3 * SLOT, R), ORIEL_FAULT_RESUME);
    assert_shows(&f, 2 * GIB, 5 * SLOT, 3, 0, R);
    assert_shows_nothing(&f, 2 * GIB + 5 * SLOT, 3 * SLOT);
    free(blob);
    fixture_stop(&f);
}

static void an_empty_session_saves_and_loads(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    size_t size;
    unsigned char *blob = save(&f, &size);
    assert_int_equal(size, HEAD);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_load(f.dax, blob, size), 0);
    assert_int_equal(fixture_stats(&f).slots, 0);
    assert_int_equal(oriel_recorder_counts(f.recorder).mapped_bytes, 0);
    free(blob);
    fixture_stop(&f);
}

static void load_over_a_live_session_leaves_no_mapping_behind(void **state)
{
    (void)state;
    struct fixture f;
    const struct oriel_dax_slot slots[] = {
        {.moffset = 6 * SLOT, .len = SLOT, .nodeid = 2, .foffset = G, .prot = R}};
    unsigned char blob[HEAD + ENTRY];
    size_t size = make_blob(blob, 64 * MIB, slots, 1);
    fixture_start(&f, 64 * MIB);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(oriel_dax_setup(f.dax, 1, 0, i % 2 == 0 ? SLOT : G, i * SLOT, RW), 0);
    assert_int_equal(oriel_dax_load(f.dax, blob, size), 0);
    assert_int_equal(oriel_recorder_counts(f.recorder).mapped_bytes, 0);
    assert_int_equal(fixture_stats(&f).mapped_bytes, SLOT);
    for (uint64_t i = 0; i < 10; i++) {
        int want = i == 6 ? ORIEL_FAULT_RESUME : ORIEL_FAULT_UNMAPPED;
        assert_int_equal(oriel_dax_fault(f.dax, GPA + i * SLOT, R), want);
    }
    assert_shows(&f, 6 * SLOT, SLOT, 2, G, R);
    fixture_stop(&f);
}

static void load_that_cannot_unmap_changes_no_slot(void **state)
{
    (void)state;
    struct fixture f;
    unsigned char blob[HEAD];
    size_t size = make_blob(blob, 64 * MIB, NULL, 0), before_size, after_size;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, RW), 0);
    unsigned char *before = save(&f, &before_size);
    f.mapper_refuses_to = SLOT;
    assert_int_equal(oriel_dax_load(f.dax, blob, size), -EIO);
    f.mapper_refuses_to = 0;
    unsigned char *after = save(&f, &after_size);
    assert_int_equal(before_size, after_size);
    assert_memory_equal(before, after, before_size);
    assert_int_equal(oriel_dax_fault(f.dax, GPA, R), ORIEL_FAULT_RESUME);
    assert_shows(&f, 0, SLOT, 1, 0, RW);
    free(before);
    free(after);
    fixture_stop(&f);
}

/* A refused load changes nothing and gives this error. */
static void refused(struct fixture *f, const void *blob, size_t size, int err)
{
    size_t before_size, after_size;
    unsigned char *before = save(f, &before_size);
    uint64_t unmaps = oriel_recorder_counts(f->recorder).unmaps;
    assert_int_equal(oriel_dax_load(f->dax, blob, size), err);
    unsigned char *after = save(f, &after_size);
    assert_int_equal(before_size, after_size);
    assert_memory_equal(before, after, before_size);
    assert_int_equal(oriel_recorder_counts(f->recorder).unmaps, unmaps);
    assert_shows(f, 0, SLOT, 1, 0, RW);
    free(before);
    free(after);
}

static void bad_heads_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    const struct oriel_dax_slot slots[] = {
        {.moffset = 0, .len = SLOT, .nodeid = 2, .foffset = 0, .prot = R},
        {.moffset = SLOT, .len = SLOT, .nodeid = 2, .foffset = 0, .prot = R}};
    unsigned char good[HEAD + 2 * ENTRY + 8] = {0}, bad[sizeof(good)];
    size_t size = make_blob(good, 64 * MIB, slots, 2);
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, RW), 0);
    for (size_t cut = 0; cut < size; cut++) {
        unsigned char *exact = malloc(cut + 1); /* so that a read past the end is noticed */
        memcpy(exact, good, cut);
        refused(&f, exact, cut, cut < 4 ? -ENOMSG : -EMSGSIZE);
        free(exact);
    }
    refused(&f, good, size + 1, -E2BIG);
    refused(&f, good, size + 8, -E2BIG);
#define REFUSED(store, err)                                                                                  \
    do {                                                                                                     \
        memcpy(bad, good, sizeof(bad));                                                                      \
        store;                                                                                               \
        refused(&f, bad, size, err);                                                                         \
    } while (0)
    REFUSED(bad[0] = 'd', -ENOMSG);
    REFUSED(le32_store(bad + 4, 0), -EPROTONOSUPPORT);
    REFUSED(le32_store(bad + 4, 2), -EPROTONOSUPPORT);
    REFUSED(le64_store(bad + 8, GPA + SLOT), -EXDEV);
    REFUSED(le64_store(bad + 16, 32 * MIB), -EXDEV);
    REFUSED(le64_store(bad + 32, 2 * SLOT + G), -EBADMSG);
    REFUSED(le64_store(bad + 40, 3), -EMSGSIZE);
    REFUSED(le64_store(bad + 40, 1), -E2BIG);
    REFUSED(le64_store(bad + 40, UINT64_MAX), -EMSGSIZE); /* no allocation by the claimed count */
    REFUSED(le64_store(bad + 40, UINT64_C(0x6666666666666668)),
            -EMSGSIZE); /* times 40 wraps to a small number */
    assert_int_equal(oriel_dax_load(f.dax, good, size), 0);
    fixture_stop(&f);
}

static void bad_entries_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    const struct oriel_dax_slot slots[] = {
        {.moffset = 2 * SLOT, .len = SLOT, .nodeid = 2, .foffset = 0, .prot = R},
        {.moffset = 4 * SLOT, .len = SLOT, .nodeid = 3, .foffset = 0, .prot = RW},
        {.moffset = 6 * SLOT, .len = SLOT, .nodeid = 2, .foffset = 0, .prot = R}};
    unsigned char good[HEAD + 3 * ENTRY], bad[sizeof(good)], *second = bad + HEAD + ENTRY;
    size_t size = make_blob(good, 64 * MIB, slots, 3);
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, RW), 0);
    REFUSED(le64_store(second + 8, 0), -ENODATA);
    REFUSED(le64_store(second, 4 * SLOT + 4096), -EINVAL);
    REFUSED(le64_store(second + 8, SLOT - 1), -EINVAL);
    REFUSED(le64_store(second + 24, 1), -EINVAL);
    REFUSED(le64_store(second, 64 * MIB), -ERANGE);
    REFUSED(le64_store(second + 8, 64 * MIB), -ERANGE);
    REFUSED(le64_store(second, UINT64_MAX - G + 1), -ERANGE);
    REFUSED(le64_store(second + 8, UINT64_MAX - G + 1), -ERANGE);
    REFUSED(le64_store(second + 24, UINT64_C(1) << 63), -EOVERFLOW);
    REFUSED(le64_store(second + 24, UINT64_MAX - G + 1), -EOVERFLOW);
    REFUSED(le64_store(second, 2 * SLOT), -EEXIST);
    REFUSED(le64_store(second, 3 * SLOT - G), -EEXIST);
    REFUSED(le64_store(second + 8, 2 * SLOT + G), -EEXIST);
    REFUSED(le64_store(second, 0), -EILSEQ);
    REFUSED(le64_store(second, 8 * SLOT), -EILSEQ); /* the third comes after it */
    REFUSED(le32_store(second + 32, 0), -EPROTO);
    REFUSED(le32_store(second + 32, 5), -EPROTO);
    REFUSED(le32_store(second + 32, UINT32_C(0x80000001)), -EPROTO);
    REFUSED(le32_store(second + 36, 1), -EBADMSG);
    REFUSED(le64_store(second + 8, SLOT - G), -EBADMSG); /* the sum */
    assert_int_equal(oriel_dax_load(f.dax, good, size), 0);
    assert_int_equal(fixture_stats(&f).slots, 3);
    fixture_stop(&f);
}

static void a_blob_over_the_cap_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    const struct oriel_dax_slot slots[] = {
        {.moffset = 0, .len = SLOT, .nodeid = 2, .foffset = 0, .prot = R},
        {.moffset = SLOT, .len = SLOT, .nodeid = 2, .foffset = 0, .prot = R}};
    unsigned char blob[HEAD + 2 * ENTRY];
    size_t size = make_blob(blob, 64 * MIB, slots, 2);
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = 64 * MIB, .cap_bytes = 2 * SLOT - G});
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, RW), 0);
    refused(&f, blob, size, -ENOSPC);
    fixture_stop(&f);
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = 64 * MIB, .cap_slots = 1});
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, RW), 0);
    refused(&f, blob, size, -ENOSPC);
    fixture_stop(&f);
    fixture_start_with(
        &f, (struct oriel_dax_options){.window_len = 64 * MIB, .cap_bytes = 2 * SLOT, .cap_slots = 2});
    assert_int_equal(oriel_dax_load(f.dax, blob, size), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, G, 9 * SLOT, R), -ENOSPC);
    assert_int_equal(remove_range(&f, 0, SLOT), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 9 * SLOT, R), 0);
    fixture_stop(&f);
}

static void a_writable_entry_needs_a_writable_session(void **state)
{
    (void)state;
    struct fixture f;
    const struct oriel_dax_slot slots[] = {
        {.moffset = 0, .len = SLOT, .nodeid = 2, .foffset = 0, .prot = RW}};
    unsigned char blob[HEAD + ENTRY];
    size_t size = make_blob(blob, 64 * MIB, slots, 1);
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = 64 * MIB, .read_only = true});
    assert_int_equal(oriel_dax_load(f.dax, blob, size), -EROFS);
    fixture_stop(&f);
}

static void a_refusal_is_traced(void **state)
{
    (void)state;
    struct fixture f;
    char path[] = "/tmp/oriel-saved-XXXXXX", text[4096] = "";
    int fd = mkstemp(path);
    struct oriel_trace *trace = NULL;
    assert_int_equal(oriel_trace_open(path, &trace), 0);
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = 64 * MIB, .trace = trace});
    assert_int_equal(oriel_dax_load(f.dax, "DAXT....", 8), -ENOMSG);
    fixture_stop(&f);
    oriel_trace_close(trace);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    assert_non_null(strstr(text, "dax load refused: head"));
    close(fd);
    unlink(path);
}

static void a_buffer_that_is_too_small_says_how_much_is_needed(void **state)
{
    (void)state;
    struct fixture f;
    unsigned char buffer[HEAD + 3 * ENTRY];
    size_t written = 0;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 3 * SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 2 * SLOT, 3 * SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, G, 8 * SLOT + G, R), 0);
    for (size_t size = 0; size < sizeof(buffer); size++) {
        unsigned char *exact = malloc(size + 1);
        assert_int_equal(oriel_dax_save(f.dax, exact, size, &written), -ENOBUFS);
        assert_int_equal(written, sizeof(buffer));
        free(exact);
    }
    assert_int_equal(oriel_dax_save(f.dax, buffer, sizeof(buffer), &written), 0);
    fixture_stop(&f);
}

struct collected {
    struct oriel_dax_slot slots[8];
    size_t count, stop_at;
};

static int collect(void *opaque, const struct oriel_dax_slot *slot)
{
    struct collected *c = opaque;
    c->slots[c->count++] = *slot;
    return c->count == c->stop_at ? 42 : 0;
}

static void each_slot_tells_bound_from_saved(void **state)
{
    (void)state;
    struct fixture f;
    struct collected c = {0};
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_each_slot(f.dax, collect, &c), 0);
    assert_int_equal(c.count, 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 2 * SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, SLOT, G, 4 * SLOT, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, SLOT, G, 4 * SLOT + 2 * G, RW), 0);
    size_t size;
    unsigned char *blob = save(&f, &size);
    assert_int_equal(oriel_dax_load(f.dax, blob, size), 0);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 4 * SLOT, R), ORIEL_FAULT_RESUME);
    assert_int_equal(oriel_dax_each_slot(f.dax, collect, &c), 0);
    assert_int_equal(c.count, 3);
    assert_int_equal(c.slots[0].len, 2 * SLOT);
    assert_false(c.slots[0].bound);
    assert_true(c.slots[1].bound);
    assert_int_equal(c.slots[1].nodeid, 2);
    assert_int_equal(c.slots[1].prot, RW);
    assert_false(c.slots[2].bound);
    c = (struct collected){.stop_at = 2};
    assert_int_equal(oriel_dax_each_slot(f.dax, collect, &c), 42);
    assert_int_equal(c.count, 2);
    struct oriel_daxs head;
    assert_int_equal(oriel_daxs_open(blob, size, &head), 0);
    assert_int_equal(head.entry_count, 3);
    assert_int_equal(oriel_daxs_entry(blob, 2).nodeid, 3);
    free(blob);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_layout_is_the_documented_one_byte_for_byte),
        cmocka_unit_test(saved_and_loaded_is_the_same),
        cmocka_unit_test(an_empty_session_saves_and_loads),
        cmocka_unit_test(load_over_a_live_session_leaves_no_mapping_behind),
        cmocka_unit_test(load_that_cannot_unmap_changes_no_slot),
        cmocka_unit_test(bad_heads_are_refused),
        cmocka_unit_test(bad_entries_are_refused),
        cmocka_unit_test(a_blob_over_the_cap_is_refused),
        cmocka_unit_test(a_writable_entry_needs_a_writable_session),
        cmocka_unit_test(a_refusal_is_traced),
        cmocka_unit_test(a_buffer_that_is_too_small_says_how_much_is_needed),
        cmocka_unit_test(each_slot_tells_bound_from_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
