#include <oriel/virtio_fs.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/le.h"
#include "virtio/request_queue.h"

#define FEATURE_VERSION_1 (UINT64_C(1) << 32)
#define FEATURES          (FEATURE_VERSION_1 | SPLIT_QUEUE_FEATURE_INDIRECT | SPLIT_QUEUE_FEATURE_EVENT_IDX)

#define MIN_QUEUE_SIZE     8
#define MAX_REQUEST_QUEUES (ORIEL_VIRTIO_FS_MAX_QUEUES - 1)
#define CONFIG_LEN         (ORIEL_VIRTIO_FS_TAG_MAX + 4)

struct oriel_virtio_fs {
    struct oriel_virtio_fs_options options; /* tag is not ours beyond create */
    unsigned char config[CONFIG_LEN];
    uint16_t queue_count;
    pthread_mutex_t control; /* start, stop, reset, features, memory: one at a time */
    uint64_t features;
    bool features_set;
    struct shared_memory_map map;
    struct request_queue *queues;
};

static bool options_are_sound(const struct oriel_virtio_fs_options *options)
{
    if (options->tag == NULL || options->server == NULL || options->notify == NULL)
        return false;
    size_t tag_len = strnlen(options->tag, ORIEL_VIRTIO_FS_TAG_MAX + 1);
    if (tag_len == 0 || tag_len > ORIEL_VIRTIO_FS_TAG_MAX || strchr(options->tag, '\n') != NULL)
        return false;
    if (options->num_request_queues == 0 || options->num_request_queues > MAX_REQUEST_QUEUES)
        return false;
    return is_power_of_two(options->queue_size) && options->queue_size >= MIN_QUEUE_SIZE &&
           options->queue_size <= ORIEL_VIRTIO_QUEUE_SIZE_MAX;
}

static int create_queues(struct oriel_virtio_fs *device)
{
    size_t bytes = device->queue_count * sizeof(device->queues[0]);
    device->queues = aligned_alloc(_Alignof(struct request_queue), bytes);
    if (device->queues == NULL)
        return -ENOMEM;
    for (uint16_t i = 0; i < device->queue_count; i++) {
        int r = request_queue_init(&device->queues[i], i, &device->options, &device->map);
        if (r != 0) {
            device->queue_count = i;
            return r;
        }
    }
    return 0;
}

int oriel_virtio_fs_create(const struct oriel_virtio_fs_options *options, struct oriel_virtio_fs **out)
{
    struct oriel_virtio_fs_options given = {0};
    if (options == NULL || out == NULL || options->size < sizeof(size_t) || options->size > sizeof(given))
        return -EINVAL;
    memcpy(&given, options, options->size);
    if (given.queue_size == 0)
        given.queue_size = ORIEL_VIRTIO_QUEUE_SIZE_DEFAULT;
    if (!options_are_sound(&given))
        return -EINVAL;
    struct oriel_virtio_fs *device = calloc(1, sizeof(*device));
    if (device == NULL)
        return -ENOMEM;
    device->options = given;
    device->options.tag = NULL;
    memcpy(device->config, given.tag, strlen(given.tag));
    le32_store(device->config + ORIEL_VIRTIO_FS_TAG_MAX, given.num_request_queues);
    device->queue_count = (uint16_t)(given.num_request_queues + 1);
    pthread_mutex_init(&device->control, NULL);
    pthread_mutex_init(&device->map.lock, NULL);
    int r = create_queues(device);
    if (r != 0) {
        oriel_virtio_fs_destroy(device);
        return r;
    }
    *out = device;
    return 0;
}

void oriel_virtio_fs_destroy(struct oriel_virtio_fs *device)
{
    if (device == NULL)
        return;
    for (uint16_t i = 0; device->queues != NULL && i < device->queue_count; i++)
        request_queue_destroy(&device->queues[i]);
    free(device->queues);
    oriel_memory_unref(device->map.current);
    pthread_mutex_destroy(&device->map.lock);
    pthread_mutex_destroy(&device->control);
    free(device);
}

uint16_t oriel_virtio_fs_queue_count(const struct oriel_virtio_fs *device)
{
    return device->queue_count;
}

uint16_t oriel_virtio_fs_queue_size_max(const struct oriel_virtio_fs *device)
{
    return device->options.queue_size;
}

uint64_t oriel_virtio_fs_features(const struct oriel_virtio_fs *device)
{
    (void)device;
    return FEATURES;
}

int oriel_virtio_fs_set_features(struct oriel_virtio_fs *device, uint64_t features)
{
    if ((features & ~FEATURES) != 0 || (features & FEATURE_VERSION_1) == 0)
        return -EINVAL;
    pthread_mutex_lock(&device->control);
    device->features = features;
    device->features_set = true;
    pthread_mutex_unlock(&device->control);
    return 0;
}

void oriel_virtio_fs_config_read(const struct oriel_virtio_fs *device, uint64_t offset, void *data,
                                 size_t len)
{
    size_t inside = offset < CONFIG_LEN ? (size_t)min_u64(len, CONFIG_LEN - offset) : 0;
    if (inside != 0)
        memcpy(data, device->config + offset, inside);
    if (inside != len)
        memset((char *)data + inside, 0, len - inside);
}

void oriel_virtio_fs_set_memory(struct oriel_virtio_fs *device, struct oriel_memory *memory)
{
    pthread_mutex_lock(&device->control);
    pthread_mutex_lock(&device->map.lock);
    struct oriel_memory *old = device->map.current;
    device->map.current = oriel_memory_ref(memory);
    atomic_fetch_add(&device->map.generation, 1);
    pthread_mutex_unlock(&device->map.lock);
    oriel_memory_unref(old);
    for (uint16_t i = 0; i < device->queue_count; i++)
        request_queue_refresh_memory(&device->queues[i]);
    pthread_mutex_unlock(&device->control);
}

static int start_queue(struct oriel_virtio_fs *device, uint16_t queue,
                       const struct oriel_virtio_queue_setup *setup)
{
    if (queue >= device->queue_count || setup->size > device->options.queue_size)
        return -EINVAL;
    if (!device->features_set)
        return -ENXIO;
    return request_queue_start(&device->queues[queue], setup, device->features);
}

int oriel_virtio_fs_queue_start(struct oriel_virtio_fs *device, uint16_t queue,
                                const struct oriel_virtio_queue_setup *setup)
{
    pthread_mutex_lock(&device->control);
    int r = start_queue(device, queue, setup);
    pthread_mutex_unlock(&device->control);
    ORIEL_TRACE(
        device->options.trace,
        "virtio queue %u start size=%u desc=0x%llx avail=0x%llx used=0x%llx avail_index=%u used_index=%u: %d",
        queue, setup->size, (unsigned long long)setup->desc, (unsigned long long)setup->avail,
        (unsigned long long)setup->used, setup->avail_index, setup->used_index, r);
    return r;
}

void oriel_virtio_fs_queue_stop(struct oriel_virtio_fs *device, uint16_t queue,
                                struct oriel_virtio_queue_setup *state)
{
    if (queue >= device->queue_count) {
        if (state != NULL)
            *state = (struct oriel_virtio_queue_setup){0};
        return;
    }
    pthread_mutex_lock(&device->control);
    request_queue_stop(&device->queues[queue], state);
    pthread_mutex_unlock(&device->control);
    ORIEL_TRACE(device->options.trace, "virtio queue %u stop", queue);
}

int oriel_virtio_fs_process(struct oriel_virtio_fs *device, uint16_t queue)
{
    return queue < device->queue_count ? request_queue_process(&device->queues[queue], true) : -ENXIO;
}

int oriel_virtio_fs_poll(struct oriel_virtio_fs *device, uint16_t queue)
{
    return queue < device->queue_count ? request_queue_process(&device->queues[queue], false) : -ENXIO;
}

void oriel_virtio_fs_reset(struct oriel_virtio_fs *device)
{
    pthread_mutex_lock(&device->control);
    for (uint16_t i = 0; i < device->queue_count; i++)
        request_queue_stop(&device->queues[i], NULL);
    device->features = 0;
    device->features_set = false;
    oriel_fuse_server_reset(device->options.server);
    pthread_mutex_unlock(&device->control);
    ORIEL_TRACE(device->options.trace, "virtio device reset");
}

void oriel_virtio_fs_stats(const struct oriel_virtio_fs *device, struct oriel_virtio_fs_stats *out)
{
    *out = (struct oriel_virtio_fs_stats){0};
    for (uint16_t i = 0; i < device->queue_count; i++) {
        struct request_queue_counters *counters = &device->queues[i].counters;
        out->kicks += atomic_load_explicit(&counters->kicks, memory_order_relaxed);
        out->requests += atomic_load_explicit(&counters->requests, memory_order_relaxed);
        out->notifications += atomic_load_explicit(&counters->notifications, memory_order_relaxed);
        out->broken_queues += atomic_load_explicit(&counters->breaks, memory_order_relaxed);
        out->dropped_chains += atomic_load_explicit(&counters->dropped, memory_order_relaxed);
        out->handed_off += atomic_load_explicit(&counters->handed_off, memory_order_relaxed);
    }
}
