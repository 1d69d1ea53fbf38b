#include <oriel/virtio_pci.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/le.h"
#include "virtio/driver_setup.h"
#include "virtio/msix.h"
#include "virtio/pci_config.h"

#define NO_VECTOR UINT16_C(0xffff)

#define ISR_QUEUE  1u
#define ISR_CONFIG 2u

#define MIN_WINDOW (UINT64_C(2) << 20)

/* virtio_pci_common_cfg (virtio 1.3, 4.1.4.3) */
enum {
    COMMON_DEVICE_FEATURES_SELECT = 0x00,
    COMMON_DEVICE_FEATURES = 0x04,
    COMMON_DRIVER_FEATURES_SELECT = 0x08,
    COMMON_DRIVER_FEATURES = 0x0c,
    COMMON_CONFIG_VECTOR = 0x10,
    COMMON_NUM_QUEUES = 0x12,
    COMMON_STATUS = 0x14,
    COMMON_GENERATION = 0x15,
    COMMON_QUEUE_SELECT = 0x16,
    COMMON_QUEUE_SIZE = 0x18,
    COMMON_QUEUE_VECTOR = 0x1a,
    COMMON_QUEUE_ENABLE = 0x1c,
    COMMON_QUEUE_NOTIFY_OFF = 0x1e,
    COMMON_QUEUE_DESC = 0x20,
    COMMON_QUEUE_AVAIL = 0x28,
    COMMON_QUEUE_USED = 0x30,
    COMMON_LEN = 0x40,
};

struct told_bar {
    bool enabled;
    uint64_t address;
};

struct oriel_virtio_pci {
    struct oriel_virtio_pci_options options;
    pthread_mutex_t lock; /* every register but the doorbells; held while a reset waits for the queues */
    struct pci_config config;
    struct told_bar told_bars[PCI_BARS];
    struct driver_setup setup;

    /* Interrupts are raised by threads that a reset waits for: they never take the lock above. */
    struct msix msix;
    _Atomic uint16_t config_vector;
    _Atomic uint16_t queue_vectors[ORIEL_VIRTIO_FS_MAX_QUEUES];
    pthread_mutex_t intx_lock; /* keeps changes of the level in order */
    unsigned isr;
    bool intx_disabled, intx_level;
};

/* ---- interrupts ---- */

/* Under intx_lock. */
static void update_intx(struct oriel_virtio_pci *pci)
{
    bool level = pci->isr != 0 && !pci->intx_disabled && !msix_is_enabled(&pci->msix);
    if (level == pci->intx_level)
        return;
    pci->intx_level = level;
    if (pci->options.intx != NULL)
        pci->options.intx(pci->options.opaque, level);
}

static void raise_intx(struct oriel_virtio_pci *pci, unsigned cause)
{
    pthread_mutex_lock(&pci->intx_lock);
    pci->isr |= cause;
    update_intx(pci);
    pthread_mutex_unlock(&pci->intx_lock);
}

/* Reading the ISR clears it (4.1.4.5). */
static uint8_t take_isr(struct oriel_virtio_pci *pci)
{
    pthread_mutex_lock(&pci->intx_lock);
    uint8_t isr = (uint8_t)pci->isr;
    pci->isr = 0;
    update_intx(pci);
    pthread_mutex_unlock(&pci->intx_lock);
    return isr;
}

static void raise_interrupt(struct oriel_virtio_pci *pci, uint16_t vector, unsigned cause)
{
    if (msix_is_enabled(&pci->msix))
        msix_raise(&pci->msix, vector);
    else
        raise_intx(pci, cause);
}

void oriel_virtio_pci_queue_interrupt(struct oriel_virtio_pci *pci, uint16_t queue)
{
    if (queue < pci->setup.queue_count)
        raise_interrupt(pci, atomic_load(&pci->queue_vectors[queue]), ISR_QUEUE);
}

void oriel_virtio_pci_needs_reset(struct oriel_virtio_pci *pci)
{
    if (driver_setup_needs_reset(&pci->setup))
        raise_interrupt(pci, atomic_load(&pci->config_vector), ISR_CONFIG);
}

/* ---- common configuration ---- */

static void forget_vectors(struct oriel_virtio_pci *pci)
{
    atomic_store(&pci->config_vector, NO_VECTOR);
    for (size_t i = 0; i < ARRAY_LEN(pci->queue_vectors); i++)
        atomic_store(&pci->queue_vectors[i], NO_VECTOR);
}

static void write_status(struct oriel_virtio_pci *pci, uint8_t value)
{
    if (!driver_setup_write_status(&pci->setup, value))
        raise_interrupt(pci, atomic_load(&pci->config_vector), ISR_CONFIG);
    if (value == 0) {
        forget_vectors(pci);
        (void)take_isr(pci);
    }
    ORIEL_TRACE(pci->options.trace, "virtio pci status written 0x%x, is 0x%x", value,
                driver_setup_status(&pci->setup));
}

/* A vector that is none reads back as NO_VECTOR: the driver sees that it was refused (4.1.5.1.2.1). */
static uint16_t checked_vector(const struct oriel_virtio_pci *pci, uint32_t vector)
{
    return vector < pci->msix.vectors ? (uint16_t)vector : NO_VECTOR;
}

static void write_half(uint64_t *field, bool upper, uint32_t half)
{
    unsigned shift = upper ? 32 : 0;
    *field = (*field & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)half << shift;
}

static void write_queue_address(struct oriel_virtio_pci *pci, uint64_t offset, uint32_t half)
{
    struct driver_queue *queue = driver_setup_open_queue(&pci->setup);
    if (queue == NULL)
        return;
    uint64_t *field = offset < COMMON_QUEUE_AVAIL  ? &queue->desc
                      : offset < COMMON_QUEUE_USED ? &queue->avail
                                                   : &queue->used;
    write_half(field, offset % 8 != 0, half);
}

static void write_common_dword(struct oriel_virtio_pci *pci, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case COMMON_DEVICE_FEATURES_SELECT:
        pci->setup.device_features_select = value;
        break;
    case COMMON_DRIVER_FEATURES_SELECT:
        pci->setup.driver_features_select = value;
        break;
    case COMMON_DRIVER_FEATURES:
        driver_setup_write_features(&pci->setup, value);
        break;
    case COMMON_QUEUE_DESC:
    case COMMON_QUEUE_DESC + 4:
    case COMMON_QUEUE_AVAIL:
    case COMMON_QUEUE_AVAIL + 4:
    case COMMON_QUEUE_USED:
    case COMMON_QUEUE_USED + 4:
        write_queue_address(pci, offset, value);
        break;
    default:
        break;
    }
}

static void write_common_word(struct oriel_virtio_pci *pci, uint64_t offset, uint16_t value)
{
    switch (offset) {
    case COMMON_CONFIG_VECTOR:
        atomic_store(&pci->config_vector, checked_vector(pci, value));
        break;
    case COMMON_QUEUE_SELECT:
        pci->setup.queue_select = value;
        break;
    case COMMON_QUEUE_SIZE:
        driver_setup_write_queue_size(&pci->setup, value);
        break;
    case COMMON_QUEUE_VECTOR:
        if (driver_setup_queue(&pci->setup) != NULL)
            atomic_store(&pci->queue_vectors[pci->setup.queue_select], checked_vector(pci, value));
        break;
    case COMMON_QUEUE_ENABLE:
        if (value == 1 && !driver_setup_enable_queue(&pci->setup))
            raise_interrupt(pci, atomic_load(&pci->config_vector), ISR_CONFIG);
        break;
    default:
        break;
    }
}

/* Fields are written in their own width, 64-bit ones in halves or whole (4.1.3.1); all else is ignored. */
static void write_common(struct oriel_virtio_pci *pci, uint64_t offset, const void *data, size_t len)
{
    if (len == 1 && offset == COMMON_STATUS) {
        write_status(pci, *(const uint8_t *)data);
    } else if (len == 2) {
        write_common_word(pci, offset, le16_load(data));
    } else if (len == 4) {
        write_common_dword(pci, offset, le32_load(data));
    } else if (len == 8 && offset >= COMMON_QUEUE_DESC && is_aligned(offset, 8)) {
        write_common_dword(pci, offset, le32_load(data));
        write_common_dword(pci, offset + 4, le32_load((const char *)data + 4));
    }
}

static void render_queue(struct oriel_virtio_pci *pci, unsigned char *image)
{
    const struct driver_queue *queue = driver_setup_queue(&pci->setup);
    uint16_t number = pci->setup.queue_select;
    if (queue == NULL) {
        le16_store(image + COMMON_QUEUE_VECTOR, NO_VECTOR);
        return;
    }
    le16_store(image + COMMON_QUEUE_SIZE, queue->size);
    le16_store(image + COMMON_QUEUE_VECTOR, atomic_load(&pci->queue_vectors[number]));
    le16_store(image + COMMON_QUEUE_ENABLE, queue->enabled);
    le16_store(image + COMMON_QUEUE_NOTIFY_OFF, number);
    le64_store(image + COMMON_QUEUE_DESC, queue->desc);
    le64_store(image + COMMON_QUEUE_AVAIL, queue->avail);
    le64_store(image + COMMON_QUEUE_USED, queue->used);
}

static void read_common(struct oriel_virtio_pci *pci, uint64_t offset, void *data, size_t len)
{
    unsigned char image[COMMON_LEN + 8] = {0};
    if (offset >= COMMON_LEN)
        return;
    le32_store(image + COMMON_DEVICE_FEATURES_SELECT, pci->setup.device_features_select);
    le32_store(image + COMMON_DEVICE_FEATURES, driver_setup_device_features(&pci->setup));
    le32_store(image + COMMON_DRIVER_FEATURES_SELECT, pci->setup.driver_features_select);
    le32_store(image + COMMON_DRIVER_FEATURES, driver_setup_driver_features(&pci->setup));
    le16_store(image + COMMON_CONFIG_VECTOR, atomic_load(&pci->config_vector));
    le16_store(image + COMMON_NUM_QUEUES, pci->setup.queue_count);
    image[COMMON_STATUS] = driver_setup_status(&pci->setup);
    image[COMMON_GENERATION] = 0; /* the device configuration never changes */
    le16_store(image + COMMON_QUEUE_SELECT, pci->setup.queue_select);
    render_queue(pci, image);
    memcpy(data, image + offset, len);
}

/* ---- BARs ---- */

static bool is_bar_access(const struct oriel_virtio_pci *pci, unsigned bar, uint64_t offset, size_t len)
{
    return bar < PCI_BARS && (len == 1 || len == 2 || len == 4 || len == 8) &&
           range_within(offset, len, pci->config.bar_len[bar]);
}

static void read_control(struct oriel_virtio_pci *pci, uint64_t offset, void *data, size_t len)
{
    switch (offset / CONTROL_AREA_LEN * CONTROL_AREA_LEN) {
    case CONTROL_COMMON:
        read_common(pci, offset - CONTROL_COMMON, data, len);
        break;
    case CONTROL_ISR:
        if (offset == CONTROL_ISR)
            *(uint8_t *)data = take_isr(pci);
        break;
    case CONTROL_DEVICE:
        oriel_virtio_fs_config_read(pci->options.device, offset - CONTROL_DEVICE, data, len);
        break;
    default:
        break;
    }
}

static void read_msix(struct oriel_virtio_pci *pci, uint64_t offset, void *data, size_t len)
{
    if (offset >= MSIX_PBA_AT)
        msix_pba_read(&pci->msix, offset - MSIX_PBA_AT, data, len);
    else
        msix_table_read(&pci->msix, offset - MSIX_TABLE_AT, data, len);
}

/* The access is one of is_bar_access(). */
static void read_bar(struct oriel_virtio_pci *pci, unsigned bar, uint64_t offset, void *data, size_t len)
{
    if (bar == ORIEL_VIRTIO_PCI_BAR_CONTROL)
        read_control(pci, offset, data, len);
    else if (bar == ORIEL_VIRTIO_PCI_BAR_MSIX)
        read_msix(pci, offset, data, len);
}

static void ring_doorbell(struct oriel_virtio_pci *pci, uint64_t offset)
{
    uint64_t queue = (offset - CONTROL_NOTIFY) / NOTIFY_STRIDE;
    if (is_aligned(offset, NOTIFY_STRIDE) && queue < pci->setup.queue_count &&
        pci->options.queue_kicked != NULL)
        pci->options.queue_kicked(pci->options.opaque, (uint16_t)queue);
}

static bool is_doorbell(unsigned bar, uint64_t offset)
{
    return bar == ORIEL_VIRTIO_PCI_BAR_CONTROL && offset >= CONTROL_NOTIFY;
}

static void write_bar(struct oriel_virtio_pci *pci, unsigned bar, uint64_t offset, const void *data,
                      size_t len)
{
    if (is_doorbell(bar, offset))
        ring_doorbell(pci, offset);
    else if (bar == ORIEL_VIRTIO_PCI_BAR_CONTROL && offset < CONTROL_COMMON + COMMON_LEN)
        write_common(pci, offset - CONTROL_COMMON, data, len);
    else if (bar == ORIEL_VIRTIO_PCI_BAR_MSIX && offset < MSIX_PBA_AT)
        msix_table_write(&pci->msix, offset - MSIX_TABLE_AT, data, len);
}

void oriel_virtio_pci_bar_read(struct oriel_virtio_pci *pci, unsigned bar, uint64_t offset, void *data,
                               size_t len)
{
    memset(data, 0, len);
    if (!is_bar_access(pci, bar, offset, len))
        return;
    pthread_mutex_lock(&pci->lock);
    read_bar(pci, bar, offset, data, len);
    pthread_mutex_unlock(&pci->lock);
}

void oriel_virtio_pci_bar_write(struct oriel_virtio_pci *pci, unsigned bar, uint64_t offset, const void *data,
                                size_t len)
{
    if (!is_bar_access(pci, bar, offset, len))
        return;
    if (is_doorbell(bar, offset)) {
        ring_doorbell(pci, offset);
        return;
    }
    pthread_mutex_lock(&pci->lock);
    write_bar(pci, bar, offset, data, len);
    pthread_mutex_unlock(&pci->lock);
}

/* ---- configuration space ---- */

/* Tells of each BAR that was enabled, moved or disabled since the last look. */
static void tell_bars(struct oriel_virtio_pci *pci)
{
    bool memory = pci_config_memory_enabled(&pci->config);
    for (unsigned bar = 0; bar < PCI_BARS; bar++) {
        struct told_bar *told = &pci->told_bars[bar];
        uint64_t len = pci->config.bar_len[bar], end;
        if (len == 0)
            continue;
        struct told_bar now = {.address = pci_config_bar_address(&pci->config, bar)};
        /* An address of all ones is the guest asking for the size. */
        now.enabled = memory && now.address != 0 && checked_add_u64(now.address, len, &end);
        if (now.enabled == told->enabled && (!now.enabled || now.address == told->address))
            continue;
        *told = now;
        ORIEL_TRACE(pci->options.trace, "virtio pci bar %u %s 0x%llx len=0x%llx", bar,
                    now.enabled ? "at" : "off", (unsigned long long)now.address, (unsigned long long)len);
        if (pci->options.bar_changed != NULL)
            pci->options.bar_changed(pci->options.opaque, bar, now.enabled, now.address, len);
    }
}

static void tell_intx(struct oriel_virtio_pci *pci)
{
    pthread_mutex_lock(&pci->intx_lock);
    pci->intx_disabled = pci_config_intx_disabled(&pci->config);
    update_intx(pci);
    pthread_mutex_unlock(&pci->intx_lock);
}

static void read_through_window(struct oriel_virtio_pci *pci)
{
    struct pci_window_access access;
    unsigned char data[4] = {0};
    if (!pci_config_window_access(&pci->config, &access))
        return;
    if (is_bar_access(pci, access.bar, access.offset, access.len))
        read_bar(pci, access.bar, access.offset, data, access.len);
    memcpy(pci_config_window_data(&pci->config), data, access.len);
}

static void write_through_window(struct oriel_virtio_pci *pci)
{
    struct pci_window_access access;
    if (pci_config_window_access(&pci->config, &access) &&
        is_bar_access(pci, access.bar, access.offset, access.len))
        write_bar(pci, access.bar, access.offset, pci_config_window_data(&pci->config), access.len);
}

static bool has_intx_status(struct oriel_virtio_pci *pci)
{
    pthread_mutex_lock(&pci->intx_lock);
    bool pending = pci->isr != 0;
    pthread_mutex_unlock(&pci->intx_lock);
    return pending;
}

uint32_t oriel_virtio_pci_config_read(struct oriel_virtio_pci *pci, uint32_t offset, uint32_t size)
{
    pthread_mutex_lock(&pci->lock);
    pci_config_set_intx_status(&pci->config, has_intx_status(pci));
    if (pci_config_is_window_data(offset, size))
        read_through_window(pci);
    uint32_t value = pci_config_read(&pci->config, offset, size);
    pthread_mutex_unlock(&pci->lock);
    return value;
}

void oriel_virtio_pci_config_write(struct oriel_virtio_pci *pci, uint32_t offset, uint32_t size,
                                   uint32_t value)
{
    pthread_mutex_lock(&pci->lock);
    uint16_t msix_control = pci_config_msix_control(&pci->config);
    if (pci_config_write(&pci->config, offset, size, value)) {
        if (pci_config_msix_control(&pci->config) != msix_control)
            msix_set_control(&pci->msix, pci_config_msix_control(&pci->config));
        tell_intx(pci);
        tell_bars(pci);
        if (pci_config_is_window_data(offset, size))
            write_through_window(pci);
    }
    pthread_mutex_unlock(&pci->lock);
}

/* ---- making it ---- */

int oriel_virtio_pci_create(const struct oriel_virtio_pci_options *options, struct oriel_virtio_pci **out)
{
    struct oriel_virtio_pci_options given = {0};
    if (options == NULL || out == NULL || options->size < sizeof(size_t) || options->size > sizeof(given))
        return -EINVAL;
    memcpy(&given, options, options->size);
    if (given.device == NULL ||
        (given.window_len != 0 && (!is_power_of_two(given.window_len) || given.window_len < MIN_WINDOW)))
        return -EINVAL;
    struct oriel_virtio_pci *pci = calloc(1, sizeof(*pci));
    if (pci == NULL)
        return -ENOMEM;
    pci->options = given;
    uint16_t queues = oriel_virtio_fs_queue_count(given.device);
    pthread_mutex_init(&pci->lock, NULL);
    pthread_mutex_init(&pci->intx_lock, NULL);
    pci_config_init(&pci->config, queues, (uint16_t)(queues + 1), given.window_len);
    driver_setup_init(&pci->setup, given.device, given.queue_changed, given.opaque);
    msix_init(&pci->msix, (uint16_t)(queues + 1), given.msix_changed, given.msix_fire, given.opaque);
    forget_vectors(pci);
    *out = pci;
    return 0;
}

void oriel_virtio_pci_destroy(struct oriel_virtio_pci *pci)
{
    if (pci == NULL)
        return;
    pthread_mutex_destroy(&pci->intx_lock);
    pthread_mutex_destroy(&pci->lock);
    free(pci);
}

uint64_t oriel_virtio_pci_bar_len(const struct oriel_virtio_pci *pci, unsigned bar)
{
    return bar < PCI_BARS ? pci->config.bar_len[bar] : 0;
}

uint64_t oriel_virtio_pci_doorbell(const struct oriel_virtio_pci *pci, uint16_t queue)
{
    (void)pci;
    return CONTROL_NOTIFY + NOTIFY_STRIDE * (uint64_t)queue;
}

uint16_t oriel_virtio_pci_vectors(const struct oriel_virtio_pci *pci)
{
    return pci->msix.vectors;
}
