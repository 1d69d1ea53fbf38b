/*
 * The shape of a VMM that serves the DAX window with a mapper of its own: no hypervisor here, its "stage-2 table" is a
 * piece of its own address space. It maps a file for a guest, saves, "restores" into a second session, and lets the
 * guest's first touch bring the mapping back.
 */
#include <oriel/dax.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WINDOW_GPA (UINT64_C(1) << 32)
#define WINDOW_LEN (UINT64_C(64) << 20)
#define SLOT       (UINT64_C(2) << 20)

struct vmm {
    char *window; /* what the guest sees at WINDOW_GPA */
    int file;     /* node 7 */
};

/* ---- the mapper: one call shows a file, one shows nothing ---- */

static int show(void *opaque, uint64_t offset, int fd, uint64_t file_offset, uint64_t len, uint32_t prot,
                enum oriel_range_left *left)
{
    struct vmm *vmm = opaque;
    int rights = PROT_READ | (prot & ORIEL_DAX_WRITE ? PROT_WRITE : 0);
    *left = ORIEL_RANGE_KEPT;
    return mmap(vmm->window + offset, len, rights, MAP_SHARED | MAP_FIXED, fd, (off_t)file_offset) ==
                   MAP_FAILED
               ? -5
               : 0;
}

static int hide(void *opaque, uint64_t offset, uint64_t len, enum oriel_range_left *left)
{
    struct vmm *vmm = opaque;
    *left = ORIEL_RANGE_KEPT;
    return mmap(vmm->window + offset, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
                   MAP_FAILED
               ? -5
               : 0;
}

/* ---- the source: which file is which node; a FUSE server gives one (oriel_fuse_server_dax_source()) ---- */

static int acquire(void *opaque, uint64_t nodeid, uint32_t prot, struct oriel_dax_file *out)
{
    struct vmm *vmm = opaque;
    (void)prot;
    if (nodeid != 7)
        return -2; /* ENOENT */
    out->fd = vmm->file;
    out->max_prot = ORIEL_DAX_READ | ORIEL_DAX_WRITE;
    return 0;
}

static void release(void *opaque, const struct oriel_dax_file *file)
{
    (void)opaque, (void)file; /* ours stays open */
}

static struct oriel_dax *start_session(struct vmm *vmm)
{
    const struct oriel_dax_source source = {
        .size = sizeof(source), .opaque = vmm, .acquire = acquire, .release = release};
    const struct oriel_dax_mapper mapper = {.size = sizeof(mapper),
                                            .opaque = vmm,
                                            .map = show,
                                            .unmap = hide,
                                            .host_base = vmm->window,
                                            .min_granule = 4096};
    const struct oriel_dax_options options = {.size = sizeof(options),
                                              .window_gpa = WINDOW_GPA,
                                              .window_len = WINDOW_LEN,
                                              .source = &source,
                                              .mapper = &mapper};
    struct oriel_dax *dax = NULL;
    return oriel_dax_create(&options, &dax) == 0 ? dax : NULL;
}

/* What a vCPU thread does with a data abort: 1 to run on, 0 to inject an abort into the guest, -1 not the window. */
static int data_abort(struct oriel_dax *dax, uint64_t gpa, bool write, uint64_t *last_gpa)
{
    uint32_t access = write ? ORIEL_DAX_WRITE : ORIEL_DAX_READ;
    int result = oriel_dax_fault(dax, gpa, gpa == *last_gpa ? access | ORIEL_DAX_AGAIN : access);
    *last_gpa = result == ORIEL_FAULT_RESUME ? gpa : 0;
    return result == ORIEL_FAULT_RESUME ? 1 : result == ORIEL_FAULT_OUTSIDE ? -1 : 0;
}

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            printf("not ok 1 - %s\n1..1\n", #condition);                                                     \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

int main(void)
{
    struct vmm vmm = {.file = memfd_create("hello", MFD_CLOEXEC)};
    vmm.window = mmap(NULL, WINDOW_LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(vmm.window != MAP_FAILED && vmm.file >= 0);
    CHECK(ftruncate(vmm.file, (off_t)SLOT) == 0 && pwrite(vmm.file, "hello", 5, 0) == 5);

    /* The guest's FUSE_SETUPMAPPING of node 7 at 4 MiB; then a snapshot. */
    struct oriel_dax *before = start_session(&vmm);
    CHECK(before != NULL);
    CHECK(oriel_dax_setup(before, 7, 0, SLOT, 2 * SLOT, ORIEL_DAX_READ) == 0);
    CHECK(memcmp(vmm.window + 2 * SLOT, "hello", 5) == 0);
    size_t size = oriel_dax_save_size(before);
    void *saved = malloc(size);
    CHECK(saved != NULL && oriel_dax_save(before, saved, size, &size) == 0);
    oriel_dax_destroy(before);

    /* The restore makes no call of the mapper; the first touch of the guest does. */
    struct oriel_dax *after = start_session(&vmm);
    uint64_t last_gpa = 0;
    CHECK(after != NULL && oriel_dax_load(after, saved, size) == 0);
    CHECK(data_abort(after, WINDOW_GPA + 2 * SLOT + 100, false, &last_gpa) == 1);
    CHECK(memcmp(vmm.window + 2 * SLOT, "hello", 5) == 0);
    CHECK(data_abort(after, WINDOW_GPA, false, &last_gpa) == 0);
    CHECK(data_abort(after, 0, false, &last_gpa) == -1);

    struct oriel_dax_stats stats;
    oriel_dax_stats(after, &stats);
    CHECK(stats.bound == 1 && stats.fault_binds == 1);
    oriel_dax_destroy(after);
    free(saved);
    close(vmm.file);
    printf("ok 1 - a slot is saved, restored and bound on first touch\n1..1\n");
    return 0;
}
