#include "virtio/driver_setup.h"

#include "base/checked.h"

#define DRIVER_BITS                                                                                          \
    (STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK | STATUS_FEATURES_OK | STATUS_FAILED)

/* What a reset leaves behind. */
static void forget(struct driver_setup *setup)
{
    setup->device_features_select = setup->driver_features_select = 0;
    setup->driver_features = 0;
    setup->queue_select = 0;
    for (uint16_t i = 0; i < setup->queue_count; i++)
        setup->queues[i] = (struct driver_queue){.size = oriel_virtio_fs_queue_size_max(setup->device)};
    atomic_store(&setup->status, 0);
}

void driver_setup_init(struct driver_setup *setup, struct oriel_virtio_fs *device,
                       void (*queue_changed)(void *opaque, uint16_t queue, bool running), void *opaque)
{
    *setup = (struct driver_setup){.device = device,
                                   .queue_changed = queue_changed,
                                   .opaque = opaque,
                                   .queue_count = oriel_virtio_fs_queue_count(device)};
    forget(setup);
}

uint8_t driver_setup_status(struct driver_setup *setup)
{
    return (uint8_t)atomic_load(&setup->status);
}

static bool has_status(struct driver_setup *setup, unsigned bits)
{
    return (atomic_load(&setup->status) & bits) == bits;
}

static void tell(struct driver_setup *setup, uint16_t queue, bool running)
{
    if (setup->queue_changed != NULL)
        setup->queue_changed(setup->opaque, queue, running);
}

static bool start_queue(struct driver_setup *setup, uint16_t number)
{
    struct driver_queue *queue = &setup->queues[number];
    struct oriel_virtio_queue_setup where = {
        .size = queue->size, .desc = queue->desc, .avail = queue->avail, .used = queue->used};
    if (oriel_virtio_fs_queue_start(setup->device, number, &where) != 0)
        return false;
    queue->running = true;
    tell(setup, number, true);
    return true;
}

static bool start_enabled_queues(struct driver_setup *setup)
{
    bool all = true;
    for (uint16_t i = 0; i < setup->queue_count; i++)
        if (setup->queues[i].enabled && !setup->queues[i].running && !start_queue(setup, i))
            all = false;
    return all;
}

static void reset(struct driver_setup *setup)
{
    for (uint16_t i = 0; i < setup->queue_count; i++)
        if (setup->queues[i].running)
            tell(setup, i, false);
    oriel_virtio_fs_reset(setup->device);
    forget(setup);
}

bool driver_setup_write_status(struct driver_setup *setup, uint8_t value)
{
    if (value == 0) {
        reset(setup);
        return true;
    }
    unsigned added = value & DRIVER_BITS & ~atomic_load(&setup->status);
    if ((added & STATUS_FEATURES_OK) != 0 &&
        oriel_virtio_fs_set_features(setup->device, setup->driver_features) != 0)
        added &= ~STATUS_FEATURES_OK;
    if (!has_status(setup, STATUS_FEATURES_OK) && (added & STATUS_FEATURES_OK) == 0)
        added &= ~STATUS_DRIVER_OK;
    atomic_fetch_or(&setup->status, added);
    if ((added & STATUS_DRIVER_OK) == 0 || start_enabled_queues(setup))
        return true;
    (void)driver_setup_needs_reset(setup);
    return false;
}

bool driver_setup_needs_reset(struct driver_setup *setup)
{
    unsigned before = atomic_fetch_or(&setup->status, STATUS_NEEDS_RESET);
    return (before & STATUS_DRIVER_OK) != 0;
}

static uint32_t half_of(uint64_t features, uint32_t select)
{
    return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

uint32_t driver_setup_device_features(const struct driver_setup *setup)
{
    return half_of(oriel_virtio_fs_features(setup->device), setup->device_features_select);
}

uint32_t driver_setup_driver_features(const struct driver_setup *setup)
{
    return half_of(setup->driver_features, setup->driver_features_select);
}

void driver_setup_write_features(struct driver_setup *setup, uint32_t half)
{
    uint32_t select = setup->driver_features_select;
    if (select >= 2 || has_status(setup, STATUS_FEATURES_OK))
        return;
    setup->driver_features &= ~(UINT64_C(0xffffffff) << (32 * select));
    setup->driver_features |= (uint64_t)half << (32 * select);
}

struct driver_queue *driver_setup_queue(struct driver_setup *setup)
{
    return setup->queue_select < setup->queue_count ? &setup->queues[setup->queue_select] : NULL;
}

struct driver_queue *driver_setup_open_queue(struct driver_setup *setup)
{
    struct driver_queue *queue = driver_setup_queue(setup);
    return queue != NULL && !queue->enabled ? queue : NULL;
}

void driver_setup_write_queue_size(struct driver_setup *setup, uint32_t size)
{
    struct driver_queue *queue = driver_setup_open_queue(setup);
    if (queue != NULL && is_power_of_two(size) && size <= oriel_virtio_fs_queue_size_max(setup->device))
        queue->size = (uint16_t)size;
}

bool driver_setup_enable_queue(struct driver_setup *setup)
{
    struct driver_queue *queue = driver_setup_open_queue(setup);
    if (queue == NULL || !has_status(setup, STATUS_FEATURES_OK))
        return true;
    queue->enabled = true;
    if (!has_status(setup, STATUS_DRIVER_OK) || start_queue(setup, setup->queue_select))
        return true;
    (void)driver_setup_needs_reset(setup);
    return false;
}

void driver_setup_disable_queue(struct driver_setup *setup)
{
    struct driver_queue *queue = driver_setup_queue(setup);
    if (queue == NULL)
        return;
    if (queue->running) {
        tell(setup, setup->queue_select, false);
        oriel_virtio_fs_queue_stop(setup->device, setup->queue_select, NULL);
    }
    queue->enabled = queue->running = false;
}
