/* A session over the recording mapper and a source of a few memory files, for tests. */
#ifndef DAX_FIXTURE_H
#define DAX_FIXTURE_H

#include <oriel/dax.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KIB  UINT64_C(1024)
#define MIB  (UINT64_C(1) << 20)
#define GIB  (UINT64_C(1) << 30)
#define SLOT (2 * MIB)
#define G    (16 * KIB) /* the granule of most tests */
#define GPA  (UINT64_C(1) << 32)

#define R  ORIEL_DAX_READ
#define RW (ORIEL_DAX_READ | ORIEL_DAX_WRITE)

/* Nodes 1..NODES are files of 64 MiB; READ_ONLY_NODE refuses WRITE. */
#define NODES          8
#define READ_ONLY_NODE 8

struct fixture {
    struct oriel_dax *dax;
    struct oriel_recorder *recorder;
    struct oriel_dax_source source;
    struct oriel_dax_mapper mapper;
    int fds[NODES + 1];
    ino_t inos[NODES + 1];
    int read_only_fd;
    _Atomic int fail_acquire; /* errno of the next calls, 0: none */
    _Atomic int64_t acquired; /* calls of acquire that succeeded minus releases */
    _Atomic uint64_t acquires;
    uint64_t mapper_refuses_from, mapper_refuses_to; /* window range that cannot be unmapped; to 0: none */
    void (*on_acquire)(struct fixture *fixture);     /* called inside acquire, for races that must hit */
};

static inline int fixture_acquire(void *opaque, uint64_t nodeid, uint32_t prot, struct oriel_dax_file *out)
{
    struct fixture *f = opaque;
    f->acquires++;
    if (f->on_acquire != NULL)
        f->on_acquire(f);
    if (f->fail_acquire != 0)
        return f->fail_acquire;
    if (nodeid == 0 || nodeid > NODES)
        return -ENOENT;
    if (nodeid == READ_ONLY_NODE && (prot & ORIEL_DAX_WRITE))
        return -EACCES;
    out->fd = f->fds[nodeid];
    out->max_prot = nodeid == READ_ONLY_NODE ? R : RW;
    f->acquired++;
    return 0;
}

static inline void fixture_release(void *opaque, const struct oriel_dax_file *file)
{
    struct fixture *f = opaque;
    (void)file;
    f->acquired--;
}

/* The recorder's mapper behind a gate that refuses to unmap one range. */
static inline int fixture_map(void *opaque, uint64_t offset, int fd, uint64_t file_offset, uint64_t len,
                              uint32_t prot, enum oriel_range_left *left)
{
    const struct fixture *f = opaque;
    const struct oriel_dax_mapper *m = oriel_recorder_mapper(f->recorder);
    return m->map(m->opaque, offset, fd, file_offset, len, prot, left);
}

static inline int fixture_unmap(void *opaque, uint64_t offset, uint64_t len, enum oriel_range_left *left)
{
    const struct fixture *f = opaque;
    const struct oriel_dax_mapper *m = oriel_recorder_mapper(f->recorder);
    if (offset < f->mapper_refuses_to && offset + len > f->mapper_refuses_from) {
        *left = ORIEL_RANGE_KEPT;
        return -EIO;
    }
    return m->unmap(m->opaque, offset, len, left);
}

static inline struct oriel_dax_options fixture_options(struct fixture *f, uint64_t window_len)
{
    return (struct oriel_dax_options){
        .size = sizeof(struct oriel_dax_options),
        .window_gpa = GPA,
        .window_len = window_len,
        .granule = G,
        .source = &f->source,
        .mapper = &f->mapper,
    };
}

static inline void fixture_open(struct fixture *f, uint64_t window_len)
{
    *f = (struct fixture){0};
    for (int i = 1; i <= NODES; i++) {
        struct stat st;
        f->fds[i] = memfd_create("node", MFD_CLOEXEC);
        assert_true(f->fds[i] >= 0);
        assert_int_equal(ftruncate(f->fds[i], 64 * (off_t)MIB), 0);
        assert_int_equal(fstat(f->fds[i], &st), 0);
        f->inos[i] = st.st_ino;
    }
    f->source = (struct oriel_dax_source){
        .size = sizeof(f->source), .opaque = f, .acquire = fixture_acquire, .release = fixture_release};
    assert_int_equal(oriel_recorder_create(window_len, 4096, &f->recorder), 0);
    f->mapper = (struct oriel_dax_mapper){.size = sizeof(f->mapper),
                                          .opaque = f,
                                          .map = fixture_map,
                                          .unmap = fixture_unmap,
                                          .min_granule = 4096};
}

/* As fixture_open, and a session with default options. */
static inline void fixture_start(struct fixture *f, uint64_t window_len)
{
    fixture_open(f, window_len);
    struct oriel_dax_options options = fixture_options(f, window_len);
    assert_int_equal(oriel_dax_create(&options, &f->dax), 0);
}

/* As fixture_open, and a session with these options (their source and mapper are filled in). */
static inline void fixture_start_with(struct fixture *f, struct oriel_dax_options options)
{
    uint64_t len = options.window_len;
    fixture_open(f, len);
    struct oriel_dax_options all = fixture_options(f, len);
    all.window_gpa = options.window_gpa != 0 ? options.window_gpa : all.window_gpa;
    all.granule = options.granule != 0 ? options.granule : all.granule;
    all.cap_bytes = options.cap_bytes;
    all.cap_slots = options.cap_slots;
    all.overlap = options.overlap;
    all.read_only = options.read_only;
    all.trace = options.trace;
    assert_int_equal(oriel_dax_create(&all, &f->dax), 0);
}

static inline void fixture_stop(struct fixture *f)
{
    assert_int_equal(oriel_recorder_counts(f->recorder).violations, 0);
    assert_int_equal(f->acquired, 0);
    oriel_dax_destroy(f->dax);
    assert_int_equal(oriel_recorder_counts(f->recorder).mapped_bytes, 0);
    oriel_recorder_destroy(f->recorder);
    for (int i = 1; i <= NODES; i++)
        close(f->fds[i]);
}

static inline struct oriel_dax_stats fixture_stats(struct fixture *f)
{
    struct oriel_dax_stats stats;
    oriel_dax_stats(f->dax, &stats);
    return stats;
}

static inline int remove_range(struct fixture *f, uint64_t moffset, uint64_t len)
{
    struct oriel_dax_range range = {moffset, len};
    return oriel_dax_remove(f->dax, &range, 1);
}

/* The mapper shows [moffset, moffset + len) as the node from foffset on with prot. */
#define assert_shows(f, moffset, len, node, foffset, prot)                                                   \
    assert_shows_at((f), (moffset), (len), (node), (foffset), (prot), __FILE__, __LINE__)
static inline void assert_shows_at(struct fixture *f, uint64_t moffset, uint64_t len, uint64_t node,
                                   uint64_t foffset, uint32_t prot, const char *file, int line)
{
    for (uint64_t at = 0; at < len; at += 4096) {
        struct oriel_recorded got = oriel_recorder_at(f->recorder, moffset + at);
        if (!got.mapped || got.ino != f->inos[node] || got.file_offset != foffset + at || got.prot != prot) {
            print_error(
                "moffset %#llx: mapped=%d ino=%llu (wanted %llu) offset=%#llx (wanted %#llx) prot=%u\n",
                (unsigned long long)(moffset + at), got.mapped, (unsigned long long)got.ino,
                (unsigned long long)f->inos[node], (unsigned long long)got.file_offset,
                (unsigned long long)(foffset + at), got.prot);
            _fail(file, line);
        }
    }
}

#define assert_shows_nothing(f, moffset, len)                                                                \
    assert_shows_nothing_at((f), (moffset), (len), __FILE__, __LINE__)
static inline void assert_shows_nothing_at(struct fixture *f, uint64_t moffset, uint64_t len,
                                           const char *file, int line)
{
    for (uint64_t at = 0; at < len; at += 4096) {
        if (oriel_recorder_at(f->recorder, moffset + at).mapped) {
            print_error("moffset %#llx is still mapped\n", (unsigned long long)(moffset + at));
            _fail(file, line);
        }
    }
}

#endif
