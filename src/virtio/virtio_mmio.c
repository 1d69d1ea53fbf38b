#include <oriel/virtio_mmio.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/le.h"
#include "virtio/driver_setup.h"

#define MAGIC     UINT32_C(0x74726976) /* "virt" */
#define VERSION   2u
#define VENDOR_ID UINT32_C(0x4c49524f) /* "ORIL"; drivers do not look at it */

#define INTERRUPT_USED   1u
#define INTERRUPT_CONFIG 2u

#define CONFIG_AT    0x100u
#define WINDOW_ALIGN (UINT64_C(2) << 20)
#define WINDOW_SHMID 0u

/* 4.2.2 */
enum {
    REG_MAGIC = 0x00,
    REG_VERSION = 0x04,
    REG_DEVICE_ID = 0x08,
    REG_VENDOR_ID = 0x0c,
    REG_DEVICE_FEATURES = 0x10,
    REG_DEVICE_FEATURES_SELECT = 0x14,
    REG_DRIVER_FEATURES = 0x20,
    REG_DRIVER_FEATURES_SELECT = 0x24,
    REG_QUEUE_SELECT = 0x30,
    REG_QUEUE_SIZE_MAX = 0x34,
    REG_QUEUE_SIZE = 0x38,
    REG_QUEUE_READY = 0x44,
    REG_QUEUE_NOTIFY = ORIEL_VIRTIO_MMIO_DOORBELL,
    REG_INTERRUPT_STATUS = 0x60,
    REG_INTERRUPT_ACK = 0x64,
    REG_STATUS = 0x70,
    REG_QUEUE_DESC = 0x80,
    REG_QUEUE_AVAIL = 0x90,
    REG_QUEUE_USED = 0xa0,
    REG_SHM_SELECT = 0xac,
    REG_SHM_LEN_LOW = 0xb0,
    REG_SHM_LEN_HIGH = 0xb4,
    REG_SHM_BASE_LOW = 0xb8,
    REG_SHM_BASE_HIGH = 0xbc,
    REG_CONFIG_GENERATION = 0xfc,
};

struct oriel_virtio_mmio {
    struct oriel_virtio_mmio_options options;
    pthread_mutex_t lock; /* every register but the doorbell; held while a reset waits for the queues */
    struct driver_setup setup;
    uint32_t shm_select;

    /* Interrupts are raised by threads that a reset waits for: they never take the lock above. */
    pthread_mutex_t interrupt_lock; /* keeps changes of the level in order */
    unsigned pending;
};

/* ---- interrupt ---- */

static void change_pending(struct oriel_virtio_mmio *mmio, unsigned add, unsigned remove)
{
    pthread_mutex_lock(&mmio->interrupt_lock);
    unsigned before = mmio->pending;
    mmio->pending = (before | add) & ~remove;
    if ((before == 0) != (mmio->pending == 0) && mmio->options.interrupt != NULL)
        mmio->options.interrupt(mmio->options.opaque, mmio->pending != 0);
    pthread_mutex_unlock(&mmio->interrupt_lock);
}

static uint32_t pending(struct oriel_virtio_mmio *mmio)
{
    pthread_mutex_lock(&mmio->interrupt_lock);
    uint32_t bits = mmio->pending;
    pthread_mutex_unlock(&mmio->interrupt_lock);
    return bits;
}

void oriel_virtio_mmio_queue_interrupt(struct oriel_virtio_mmio *mmio, uint16_t queue)
{
    if (queue < mmio->setup.queue_count)
        change_pending(mmio, INTERRUPT_USED, 0);
}

void oriel_virtio_mmio_needs_reset(struct oriel_virtio_mmio *mmio)
{
    if (driver_setup_needs_reset(&mmio->setup))
        change_pending(mmio, INTERRUPT_CONFIG, 0);
}

/* ---- reading ---- */

/* A region that is not there has all ones for place and length (4.2.2). */
static uint32_t read_shm(const struct oriel_virtio_mmio *mmio, uint64_t offset)
{
    if (mmio->shm_select != WINDOW_SHMID || mmio->options.window_len == 0)
        return UINT32_MAX;
    switch (offset) {
    case REG_SHM_LEN_LOW:
        return (uint32_t)mmio->options.window_len;
    case REG_SHM_LEN_HIGH:
        return (uint32_t)(mmio->options.window_len >> 32);
    case REG_SHM_BASE_LOW:
        return (uint32_t)mmio->options.window_gpa;
    default:
        return (uint32_t)(mmio->options.window_gpa >> 32);
    }
}

static uint32_t read_register(struct oriel_virtio_mmio *mmio, uint64_t offset)
{
    const struct driver_queue *queue = driver_setup_queue(&mmio->setup);
    switch (offset) {
    case REG_MAGIC:
        return MAGIC;
    case REG_VERSION:
        return VERSION;
    case REG_DEVICE_ID:
        return ORIEL_VIRTIO_FS_DEVICE_ID;
    case REG_VENDOR_ID:
        return VENDOR_ID;
    case REG_DEVICE_FEATURES:
        return driver_setup_device_features(&mmio->setup);
    case REG_QUEUE_SIZE_MAX:
        return queue != NULL ? oriel_virtio_fs_queue_size_max(mmio->options.device) : 0;
    case REG_QUEUE_READY:
        return queue != NULL && queue->enabled;
    case REG_INTERRUPT_STATUS:
        return pending(mmio);
    case REG_STATUS:
        return driver_setup_status(&mmio->setup);
    case REG_SHM_LEN_LOW:
    case REG_SHM_LEN_HIGH:
    case REG_SHM_BASE_LOW:
    case REG_SHM_BASE_HIGH:
        return read_shm(mmio, offset);
    case REG_CONFIG_GENERATION: /* the device configuration never changes */
    default:
        return 0;
    }
}

void oriel_virtio_mmio_read(struct oriel_virtio_mmio *mmio, uint64_t offset, void *data, size_t len)
{
    memset(data, 0, len);
    if (len != 1 && len != 2 && len != 4 && len != 8)
        return;
    if (offset >= CONFIG_AT) {
        oriel_virtio_fs_config_read(mmio->options.device, offset - CONFIG_AT, data, len);
        return;
    }
    if (len != 4 || !is_aligned(offset, 4))
        return;
    pthread_mutex_lock(&mmio->lock);
    le32_store(data, read_register(mmio, offset));
    pthread_mutex_unlock(&mmio->lock);
}

/* ---- writing ---- */

static void write_status(struct oriel_virtio_mmio *mmio, uint8_t value)
{
    if (!driver_setup_write_status(&mmio->setup, value))
        change_pending(mmio, INTERRUPT_CONFIG, 0);
    if (value == 0) {
        mmio->shm_select = 0;
        change_pending(mmio, 0, INTERRUPT_USED | INTERRUPT_CONFIG);
    }
    ORIEL_TRACE(mmio->options.trace, "virtio mmio status written 0x%x, is 0x%x", value,
                driver_setup_status(&mmio->setup));
}

static void write_ready(struct oriel_virtio_mmio *mmio, uint32_t value)
{
    if (value == 0)
        driver_setup_disable_queue(&mmio->setup);
    else if (value == 1 && !driver_setup_enable_queue(&mmio->setup))
        change_pending(mmio, INTERRUPT_CONFIG, 0);
}

static void write_queue_address(struct oriel_virtio_mmio *mmio, uint64_t offset, uint32_t half)
{
    struct driver_queue *queue = driver_setup_open_queue(&mmio->setup);
    if (queue == NULL)
        return;
    uint64_t *field = offset < REG_QUEUE_AVAIL  ? &queue->desc
                      : offset < REG_QUEUE_USED ? &queue->avail
                                                : &queue->used;
    unsigned shift = offset % 8 != 0 ? 32 : 0;
    *field = (*field & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)half << shift;
}

static void write_register(struct oriel_virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case REG_DEVICE_FEATURES_SELECT:
        mmio->setup.device_features_select = value;
        break;
    case REG_DRIVER_FEATURES:
        driver_setup_write_features(&mmio->setup, value);
        break;
    case REG_DRIVER_FEATURES_SELECT:
        mmio->setup.driver_features_select = value;
        break;
    case REG_QUEUE_SELECT: /* 16 bits are kept: a number beyond them must not become that of a queue */
        mmio->setup.queue_select = (uint16_t)min_u64(value, UINT16_MAX);
        break;
    case REG_QUEUE_SIZE:
        driver_setup_write_queue_size(&mmio->setup, value);
        break;
    case REG_QUEUE_READY:
        write_ready(mmio, value);
        break;
    case REG_INTERRUPT_ACK:
        change_pending(mmio, 0, value);
        break;
    case REG_STATUS:
        write_status(mmio, (uint8_t)value);
        break;
    case REG_QUEUE_DESC:
    case REG_QUEUE_DESC + 4:
    case REG_QUEUE_AVAIL:
    case REG_QUEUE_AVAIL + 4:
    case REG_QUEUE_USED:
    case REG_QUEUE_USED + 4:
        write_queue_address(mmio, offset, value);
        break;
    case REG_SHM_SELECT:
        mmio->shm_select = value;
        break;
    default:
        break;
    }
}

static void ring_doorbell(struct oriel_virtio_mmio *mmio, uint32_t queue)
{
    if (queue < mmio->setup.queue_count && mmio->options.queue_kicked != NULL)
        mmio->options.queue_kicked(mmio->options.opaque, (uint16_t)queue);
}

void oriel_virtio_mmio_write(struct oriel_virtio_mmio *mmio, uint64_t offset, const void *data, size_t len)
{
    if (len != 4 || offset >= CONFIG_AT || !is_aligned(offset, 4))
        return;
    uint32_t value = le32_load(data);
    if (offset == REG_QUEUE_NOTIFY) {
        ring_doorbell(mmio, value);
        return;
    }
    pthread_mutex_lock(&mmio->lock);
    write_register(mmio, offset, value);
    pthread_mutex_unlock(&mmio->lock);
}

/* ---- making it ---- */

static bool window_is_sound(const struct oriel_virtio_mmio_options *options)
{
    uint64_t end;
    return options->window_len == 0 ||
           (is_aligned(options->window_gpa, WINDOW_ALIGN) && is_aligned(options->window_len, WINDOW_ALIGN) &&
            checked_add_u64(options->window_gpa, options->window_len, &end));
}

int oriel_virtio_mmio_create(const struct oriel_virtio_mmio_options *options, struct oriel_virtio_mmio **out)
{
    struct oriel_virtio_mmio_options given = {0};
    if (options == NULL || out == NULL || options->size < sizeof(size_t) || options->size > sizeof(given))
        return -EINVAL;
    memcpy(&given, options, options->size);
    if (given.device == NULL || !window_is_sound(&given))
        return -EINVAL;
    struct oriel_virtio_mmio *mmio = calloc(1, sizeof(*mmio));
    if (mmio == NULL)
        return -ENOMEM;
    mmio->options = given;
    pthread_mutex_init(&mmio->lock, NULL);
    pthread_mutex_init(&mmio->interrupt_lock, NULL);
    driver_setup_init(&mmio->setup, given.device, given.queue_changed, given.opaque);
    *out = mmio;
    return 0;
}

void oriel_virtio_mmio_destroy(struct oriel_virtio_mmio *mmio)
{
    if (mmio == NULL)
        return;
    pthread_mutex_destroy(&mmio->interrupt_lock);
    pthread_mutex_destroy(&mmio->lock);
    free(mmio);
}
