/* A mapper that maps nothing: it keeps a model of what would be mapped, fails on demand, and holds the
 * session to its promises. */
#include <oriel/mapper.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/checked.h"

struct cell {
    uint64_t dev, ino, file_offset;
    uint32_t prot;
    bool mapped;
    bool busy; /* a call works on it */
};

struct oriel_recorder {
    uint64_t window_len, granule;
    struct cell *cells;
    size_t cells_size;
    pthread_mutex_t lock;
    uint64_t fail_in; /* calls until the one that fails; 0: none */
    int fail_err;
    enum oriel_range_left fail_left;
    struct oriel_recorder_counts counts;
    struct oriel_dax_mapper mapper;
};

/* With the lock: false, and counted, when the call breaks a promise. Marks the cells busy otherwise. */
static bool enter(struct oriel_recorder *recorder, uint64_t offset, uint64_t len, bool call_is_sound)
{
    bool sound = call_is_sound && len != 0 && is_aligned(offset | len, recorder->granule) &&
                 range_within(offset, len, recorder->window_len);
    for (uint64_t at = offset; sound && at < offset + len; at += recorder->granule)
        sound = !recorder->cells[at / recorder->granule].busy;
    if (!sound) {
        recorder->counts.violations++;
        return false;
    }
    for (uint64_t at = offset; at < offset + len; at += recorder->granule)
        recorder->cells[at / recorder->granule].busy = true;
    return true;
}

static bool due_to_fail(struct oriel_recorder *recorder)
{
    if (recorder->fail_in == 0 || --recorder->fail_in > 0)
        return false;
    recorder->counts.failures++;
    return true;
}

/* With the lock: the range shows `content` from its file offset on, or nothing; the cells are free again. */
static void leave(struct oriel_recorder *recorder, uint64_t offset, uint64_t len, const struct cell *content)
{
    for (uint64_t at = offset; at < offset + len; at += recorder->granule) {
        struct cell *cell = &recorder->cells[at / recorder->granule];
        recorder->counts.mapped_bytes -= cell->mapped ? recorder->granule : 0;
        recorder->counts.mapped_bytes += content->mapped ? recorder->granule : 0;
        *cell = *content;
        cell->file_offset += content->mapped ? at - offset : 0;
    }
}

static void leave_as_it_was(struct oriel_recorder *recorder, uint64_t offset, uint64_t len)
{
    for (uint64_t at = offset; at < offset + len; at += recorder->granule)
        recorder->cells[at / recorder->granule].busy = false;
}

static int change(struct oriel_recorder *recorder, uint64_t offset, uint64_t len, bool sound,
                  uint64_t *counter, const struct cell *content, enum oriel_range_left *left)
{
    static const struct cell nothing = {0};
    pthread_mutex_lock(&recorder->lock);
    ++*counter;
    bool entered = enter(recorder, offset, len, sound);
    bool fails = entered && due_to_fail(recorder);
    int err = !entered ? -EIO : fails ? recorder->fail_err : 0;
    enum oriel_range_left failed_left = recorder->fail_left;
    pthread_mutex_unlock(&recorder->lock);
    if (!entered)
        return err;
    /* Unlocked for a moment, so that a call which must not run now gets its chance to be seen. */
    pthread_mutex_lock(&recorder->lock);
    if (err == 0)
        leave(recorder, offset, len, content);
    else if (failed_left == ORIEL_RANGE_LOST)
        leave(recorder, offset, len, &nothing);
    else
        leave_as_it_was(recorder, offset, len);
    pthread_mutex_unlock(&recorder->lock);
    if (err != 0)
        *left = failed_left;
    return err;
}

static int recorder_map(void *opaque, uint64_t offset, int fd, uint64_t file_offset, uint64_t len,
                        uint32_t prot, enum oriel_range_left *left)
{
    struct oriel_recorder *recorder = opaque;
    struct stat st = {0};
    bool sound =
        fstat(fd, &st) == 0 && is_aligned(file_offset, recorder->granule) && (prot == 1 || prot == 3);
    const struct cell content = {
        .mapped = true, .dev = st.st_dev, .ino = st.st_ino, .file_offset = file_offset, .prot = prot};
    return change(recorder, offset, len, sound, &recorder->counts.maps, &content, left);
}

static int recorder_unmap(void *opaque, uint64_t offset, uint64_t len, enum oriel_range_left *left)
{
    static const struct cell nothing = {0};
    struct oriel_recorder *recorder = opaque;
    return change(recorder, offset, len, true, &recorder->counts.unmaps, &nothing, left);
}

int oriel_recorder_create(uint64_t window_len, uint64_t granule, struct oriel_recorder **out)
{
    uint64_t size;
    if (!is_power_of_two(granule) || window_len == 0 || !is_aligned(window_len, granule))
        return -EINVAL;
    if (!checked_mul_u64(window_len / granule, sizeof(struct cell), &size))
        return -ENOMEM;
    struct oriel_recorder *recorder = calloc(1, sizeof(*recorder));
    if (recorder == NULL)
        return -ENOMEM;
    recorder->cells =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (recorder->cells == MAP_FAILED) {
        free(recorder);
        return -ENOMEM;
    }
    recorder->cells_size = size;
    recorder->window_len = window_len;
    recorder->granule = granule;
    pthread_mutex_init(&recorder->lock, NULL);
    recorder->mapper = (struct oriel_dax_mapper){
        .size = sizeof(recorder->mapper),
        .opaque = recorder,
        .map = recorder_map,
        .unmap = recorder_unmap,
        .min_granule = granule,
    };
    *out = recorder;
    return 0;
}

void oriel_recorder_destroy(struct oriel_recorder *recorder)
{
    if (recorder == NULL)
        return;
    munmap(recorder->cells, recorder->cells_size);
    pthread_mutex_destroy(&recorder->lock);
    free(recorder);
}

const struct oriel_dax_mapper *oriel_recorder_mapper(struct oriel_recorder *recorder)
{
    return &recorder->mapper;
}

void oriel_recorder_fail_at(struct oriel_recorder *recorder, uint64_t n, int err, enum oriel_range_left left)
{
    pthread_mutex_lock(&recorder->lock);
    recorder->fail_in = n;
    recorder->fail_err = err;
    recorder->fail_left = left;
    pthread_mutex_unlock(&recorder->lock);
}

struct oriel_recorded oriel_recorder_at(struct oriel_recorder *recorder, uint64_t offset)
{
    struct oriel_recorded got = {0};
    pthread_mutex_lock(&recorder->lock);
    if (offset < recorder->window_len) {
        const struct cell *cell = &recorder->cells[offset / recorder->granule];
        if (cell->mapped) {
            got = (struct oriel_recorded){.mapped = true,
                                          .dev = cell->dev,
                                          .ino = cell->ino,
                                          .file_offset = cell->file_offset + offset % recorder->granule,
                                          .prot = cell->prot};
        }
    }
    pthread_mutex_unlock(&recorder->lock);
    return got;
}

struct oriel_recorder_counts oriel_recorder_counts(struct oriel_recorder *recorder)
{
    pthread_mutex_lock(&recorder->lock);
    struct oriel_recorder_counts counts = recorder->counts;
    pthread_mutex_unlock(&recorder->lock);
    return counts;
}
