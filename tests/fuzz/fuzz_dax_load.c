/* Bytes of a saved section against oriel_dax_load(), oriel_daxs_open() and, if they load, everything behind. */
#include <oriel/dax.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB    (UINT64_C(1) << 20)
#define WINDOW (64 * MIB + 3 * 4096)
#define GPA    (UINT64_C(1) << 32)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file = -1;

static int acquire(void *opaque, uint64_t nodeid, uint32_t prot, struct oriel_dax_file *out)
{
    (void)opaque, (void)prot;
    if (file < 0)
        file = memfd_create("fuzz", MFD_CLOEXEC);
    out->fd = file;
    out->max_prot = ORIEL_DAX_READ | ORIEL_DAX_WRITE;
    return nodeid % 7 == 3 ? -2 : 0;
}

static void release(void *opaque, const struct oriel_dax_file *released)
{
    (void)opaque, (void)released;
}

static void use_all(struct oriel_dax *dax, const uint8_t *data, size_t size)
{
    size_t again_size = oriel_dax_save_size(dax), written = 0;
    uint8_t *again = malloc(again_size);
    if (again == NULL || oriel_dax_save(dax, again, again_size, &written) != 0 || written != size)
        abort();
    /* cap_bytes is the session's own, a prot of WRITE alone becomes READ | WRITE; all else comes back. */
    for (size_t i = 0; i < size; i++) {
        bool cap = i >= 24 && i < 32,
             prot = i >= ORIEL_DAXS_HEADER && (i - ORIEL_DAXS_HEADER) % ORIEL_DAXS_ENTRY == 32;
        if (!cap && again[i] != (prot && data[i] == 2 ? 3 : data[i]))
            abort();
    }
    if (oriel_dax_load(dax, again, again_size) != 0)
        abort();
    free(again);
    for (uint64_t at = 0; at < WINDOW; at += 3 * MIB + 4096)
        (void)oriel_dax_fault(dax, GPA + at, at % 2 == 0 ? ORIEL_DAX_READ : ORIEL_DAX_WRITE);
    (void)oriel_dax_bind_all(dax);
    const struct oriel_dax_range range = {5 * 4096, 7 * MIB};
    (void)oriel_dax_remove(dax, &range, 1);
    (void)oriel_dax_setup(dax, 1, 0, 3 * MIB, MIB, ORIEL_DAX_READ);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct oriel_dax_source source = {.size = sizeof(source), .acquire = acquire, .release = release};
    struct oriel_recorder *recorder = NULL;
    struct oriel_dax *dax = NULL;
    if (oriel_recorder_create(WINDOW, 4096, &recorder) != 0)
        abort();
    const struct oriel_dax_options options = {.size = sizeof(options),
                                              .window_gpa = GPA,
                                              .window_len = WINDOW,
                                              .granule = 4096,
                                              .source = &source,
                                              .mapper = oriel_recorder_mapper(recorder)};
    struct oriel_daxs head;
    if (oriel_dax_create(&options, &dax) != 0)
        abort();
    int err = oriel_dax_load(dax, data, size);
    if (oriel_daxs_open(data, size, &head) != 0 && err == 0)
        abort();
    if (err == 0)
        use_all(dax, data, size);
    oriel_dax_destroy(dax);
    if (oriel_recorder_counts(recorder).mapped_bytes != 0 || oriel_recorder_counts(recorder).violations != 0)
        abort();
    oriel_recorder_destroy(recorder);
    return 0;
}
