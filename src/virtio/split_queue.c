#include "virtio/split_queue.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "base/checked.h"
#include "base/le.h"
#include "virtio/memory_region.h"

#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u
#define DESC_SIZE     16u

#define MAX_PIECES 32 /* regions that one buffer may span */

#define AVAIL_NO_INTERRUPT 1u
#define USED_NO_NOTIFY     1u

/* Both rings begin with le16 flags, le16 idx; entries follow, then the event field of the other side. */
#define RING_FLAGS   0u
#define RING_IDX     2u
#define RING_ENTRIES 4u
#define AVAIL_ENTRY  2u
#define USED_ENTRY   8u

#define AVAIL_LEN(size) (RING_ENTRIES + AVAIL_ENTRY * (uint64_t)(size) + 2)
#define USED_LEN(size)  (RING_ENTRIES + USED_ENTRY * (uint64_t)(size) + 2)

struct descriptor {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

/* ---- fields shared with the driver ---- */

static uint16_t *ring_field(void *ring, size_t offset)
{
    return (uint16_t *)(void *)((char *)ring + offset);
}

static uint16_t load_relaxed(void *ring, size_t offset)
{
    return le16toh(__atomic_load_n(ring_field(ring, offset), __ATOMIC_RELAXED));
}

static uint16_t load_acquire(void *ring, size_t offset)
{
    return le16toh(__atomic_load_n(ring_field(ring, offset), __ATOMIC_ACQUIRE));
}

/*
 * A load and a store of this kind do not pass each other: we publish, then look whether the driver asks for a
 * notification, while it asks, then looks whether we published (2.7.7.2, 2.7.10).
 */
static uint16_t load_ordered(void *ring, size_t offset)
{
    return le16toh(__atomic_load_n(ring_field(ring, offset), __ATOMIC_SEQ_CST));
}

static void store_ordered(void *ring, size_t offset, uint16_t value)
{
    __atomic_store_n(ring_field(ring, offset), htole16(value), __ATOMIC_SEQ_CST);
}

/* The used ring's field for the event index we ask for, and the available ring's that the driver asks for. */
static size_t avail_event_offset(const struct split_queue *queue)
{
    return RING_ENTRIES + USED_ENTRY * (size_t)queue->size;
}

static size_t used_event_offset(const struct split_queue *queue)
{
    return RING_ENTRIES + AVAIL_ENTRY * (size_t)queue->size;
}

/* Copies a descriptor once. The fence keeps the compiler from reading the guest's memory again later. */
static struct descriptor read_descriptor(const void *at)
{
    unsigned char copy[DESC_SIZE];
    memcpy(copy, at, sizeof(copy));
    atomic_signal_fence(memory_order_seq_cst);
    return (struct descriptor){.addr = le64_load(copy),
                               .len = le32_load(copy + 8),
                               .flags = le16_load(copy + 12),
                               .next = le16_load(copy + 14)};
}

/* ---- start and stop ---- */

int split_queue_move(struct split_queue *queue, const struct oriel_memory *memory)
{
    void *desc = oriel_memory_at(memory, queue->desc_gpa, DESC_SIZE * (uint64_t)queue->size, 1);
    void *avail = oriel_memory_at(memory, queue->avail_gpa, AVAIL_LEN(queue->size), 2);
    void *used = oriel_memory_at(memory, queue->used_gpa, USED_LEN(queue->size), 4);
    bool found = desc != NULL && avail != NULL && used != NULL;
    queue->desc = found ? desc : NULL;
    queue->avail = found ? avail : NULL;
    queue->used = found ? used : NULL;
    queue->kicks_off = false;
    if (!found && queue->broken == NULL)
        queue->broken = "ring not in guest memory";
    return found ? 0 : -EFAULT;
}

int split_queue_start(struct split_queue *queue, const struct oriel_virtio_queue_setup *setup,
                      uint64_t features, const struct oriel_memory *memory)
{
    if (!is_power_of_two(setup->size) || setup->size > ORIEL_VIRTIO_QUEUE_SIZE_MAX)
        return -EINVAL;
    if (!is_aligned(setup->desc, 16) || !is_aligned(setup->avail, 2) || !is_aligned(setup->used, 4))
        return -EINVAL;
    *queue = (struct split_queue){
        .desc_gpa = setup->desc,
        .avail_gpa = setup->avail,
        .used_gpa = setup->used,
        .size = setup->size,
        .indirect = (features & SPLIT_QUEUE_FEATURE_INDIRECT) != 0,
        .event_idx = (features & SPLIT_QUEUE_FEATURE_EVENT_IDX) != 0,
        .next_avail = setup->avail_index,
        .seen_avail = setup->avail_index,
        .next_used = setup->used_index,
        .published_used = setup->used_index,
        .signalled_used = setup->used_index,
    };
    return split_queue_move(queue, memory);
}

void split_queue_state(const struct split_queue *queue, struct oriel_virtio_queue_setup *state)
{
    *state = (struct oriel_virtio_queue_setup){
        .size = queue->size,
        .desc = queue->desc_gpa,
        .avail = queue->avail_gpa,
        .used = queue->used_gpa,
        .avail_index = queue->next_avail,
        .used_index = queue->published_used,
    };
}

/* ---- taking a chain ---- */

/* Where a walk stands: in the queue's own table, later perhaps in an indirect one. */
struct walk {
    const char *table; /* in this process, or NULL: each entry is looked up in memory */
    uint64_t table_gpa;
    uint32_t entries;
    uint32_t index;
    uint32_t left; /* how many more descriptors the chain may have */
    bool in_indirect;
    bool writable_seen;
    bool in_fault, out_fault;
    uint64_t bytes;
    const struct oriel_memory_region *region; /* of the last buffer: the next one is likely to be there too */
};

static int break_queue(struct split_queue *queue, const char *why)
{
    queue->broken = why;
    return -EIO;
}

static int enter_indirect(struct split_queue *queue, const struct oriel_memory *memory, struct walk *walk,
                          const struct descriptor *d)
{
    if (!queue->indirect)
        return break_queue(queue, "indirect descriptor without the feature");
    if (walk->in_indirect)
        return break_queue(queue, "nested indirect table");
    if ((d->flags & DESC_NEXT) != 0)
        return break_queue(queue, "indirect descriptor with a next one");
    if (d->len == 0 || d->len % DESC_SIZE != 0)
        return break_queue(queue, "indirect table of a bad length");
    if (d->len / DESC_SIZE > queue->size)
        return break_queue(queue, "indirect table longer than the queue");
    walk->table = oriel_memory_at(memory, d->addr, d->len, 1);
    walk->table_gpa = d->addr;
    walk->entries = d->len / DESC_SIZE;
    walk->index = 0;
    walk->left++; /* the one that points to the table is no part of the chain */
    walk->in_indirect = true;
    return 0;
}

static int next_descriptor(struct split_queue *queue, const struct oriel_memory *memory, struct walk *walk,
                           struct descriptor *d)
{
    if (walk->index >= walk->entries)
        return break_queue(queue, "descriptor out of range");
    if (walk->left-- == 0)
        return break_queue(queue, "chain loops or is longer than the queue");
    const char *at =
        walk->table != NULL
            ? walk->table + DESC_SIZE * (size_t)walk->index
            : oriel_memory_at(memory, walk->table_gpa + DESC_SIZE * (uint64_t)walk->index, DESC_SIZE, 1);
    if (at == NULL)
        return break_queue(queue, "indirect table not in guest memory");
    *d = read_descriptor(at);
    return 0;
}

/*
 * Appends a vector to its part, which has *count of them and ends the array at `used`. Where it goes on from the
 * last one they become one, so that the kernel has less to walk.
 */
static int append(struct split_queue_chain *chain, size_t used, uint16_t *count, void *base, size_t len)
{
    if (*count != 0) {
        struct iovec *last = &chain->iov[used - 1];
        if ((char *)last->iov_base + last->iov_len == base) {
            last->iov_len += len;
            return 0;
        }
    }
    if (used == SPLIT_QUEUE_MAX_VECTORS)
        return -ENOBUFS;
    chain->iov[used] = (struct iovec){.iov_base = base, .iov_len = len};
    ++*count;
    return 0;
}

/* A buffer that spans regions or lies in one that is not ordinary. */
static int append_translated(const struct oriel_memory *memory, struct split_queue_chain *chain,
                             const struct descriptor *d, uint32_t access, uint16_t *count)
{
    struct iovec pieces[MAX_PIECES];
    int n = oriel_memory_translate(memory, d->addr, d->len, access, pieces, MAX_PIECES, &chain->guarded);
    int r = n < 0 ? n : 0;
    for (int i = 0; r == 0 && i < n; i++)
        r = append(chain, (size_t)chain->in_count + chain->out_count, count, pieces[i].iov_base,
                   pieces[i].iov_len);
    return r;
}

static int append_buffer(const struct oriel_memory *memory, struct walk *walk,
                         struct split_queue_chain *chain, const struct descriptor *d)
{
    bool writable = (d->flags & DESC_WRITE) != 0;
    uint16_t *count = writable ? &chain->out_count : &chain->in_count;
    const struct oriel_memory_region *region = walk->region;
    if (d->len == 0)
        return 0;
    if (region == NULL || !memory_region_holds(region, d->addr, d->len))
        region = walk->region = memory_ordinary_region(memory, d->addr);
    if (region != NULL && memory_region_holds(region, d->addr, d->len))
        return append(chain, (size_t)chain->in_count + chain->out_count, count,
                      (char *)region->host + (d->addr - region->gpa), d->len);
    return append_translated(memory, chain, d, writable ? ORIEL_MEMORY_WRITE : ORIEL_MEMORY_READ, count);
}

/* Adds the vectors of one buffer. A bad buffer ends its part of the chain; the other part is still collected. */
static void add_buffer(const struct oriel_memory *memory, struct walk *walk, struct split_queue_chain *chain,
                       const struct descriptor *d)
{
    bool writable = (d->flags & DESC_WRITE) != 0;
    bool *fault = writable ? &walk->out_fault : &walk->in_fault;
    walk->bytes += d->len;
    if (writable)
        walk->writable_seen = true;
    else
        chain->in_bytes += d->len;
    if ((!writable && walk->writable_seen) || walk->bytes > UINT64_C(1) << 32) {
        chain->verdict = SPLIT_QUEUE_DROP;
        return;
    }
    if (*fault || chain->verdict == SPLIT_QUEUE_DROP)
        return;
    if (append_buffer(memory, walk, chain, d) != 0) {
        *fault = true;
        chain->verdict = SPLIT_QUEUE_FAULT;
    }
}

static int walk_chain(struct split_queue *queue, const struct oriel_memory *memory,
                      struct split_queue_chain *chain)
{
    struct walk walk = {
        .table = queue->desc, .entries = queue->size, .index = chain->head, .left = queue->size};
    for (;;) {
        struct descriptor d;
        int r = next_descriptor(queue, memory, &walk, &d);
        if (r != 0)
            return r;
        if ((d.flags & DESC_INDIRECT) != 0) {
            r = enter_indirect(queue, memory, &walk, &d);
            if (r != 0)
                return r;
            continue;
        }
        add_buffer(memory, &walk, chain, &d);
        if ((d.flags & DESC_NEXT) == 0)
            return 0;
        walk.index = d.next;
    }
}

/* How many entries are available beyond next_avail; 0 also when the driver's index is impossible. */
static uint16_t look_for_available(struct split_queue *queue)
{
    queue->seen_avail = load_acquire(queue->avail, RING_IDX);
    uint16_t ahead = (uint16_t)(queue->seen_avail - queue->next_avail);
    if (ahead > queue->size) {
        queue->broken = "available index jumps";
        return 0;
    }
    return ahead;
}

int split_queue_pop(struct split_queue *queue, const struct oriel_memory *memory,
                    struct split_queue_chain *chain)
{
    if (queue->broken != NULL)
        return -EIO;
    if (queue->seen_avail == queue->next_avail && look_for_available(queue) == 0)
        return queue->broken != NULL ? -EIO : 0;
    size_t entry = queue->next_avail & (queue->size - 1u);
    chain->head = load_relaxed(queue->avail, RING_ENTRIES + AVAIL_ENTRY * entry);
    chain->verdict = SPLIT_QUEUE_GOOD;
    chain->guarded = false;
    chain->in_bytes = 0;
    chain->in_count = chain->out_count = 0;
    int r = walk_chain(queue, memory, chain);
    if (r != 0)
        return r;
    queue->next_avail++;
    return 1;
}

/* ---- giving it back ---- */

void split_queue_push(struct split_queue *queue, uint16_t head, uint32_t len)
{
    if (queue->used == NULL)
        return;
    size_t entry = queue->next_used & (queue->size - 1u);
    uint32_t *at = (uint32_t *)(void *)((char *)queue->used + RING_ENTRIES + USED_ENTRY * entry);
    __atomic_store_n(&at[0], htole32(head), __ATOMIC_RELAXED);
    __atomic_store_n(&at[1], htole32(len), __ATOMIC_RELAXED);
    queue->next_used++;
}

/* The driver asked for the step to `event`; it lies in the steps from `before` to `now` (2.7.10). */
static bool event_was_passed(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

bool split_queue_publish(struct split_queue *queue)
{
    if (queue->used == NULL || queue->published_used == queue->next_used)
        return false;
    store_ordered(queue->used, RING_IDX, queue->next_used);
    queue->published_used = queue->next_used;
    if (!queue->event_idx)
        return (load_ordered(queue->avail, RING_FLAGS) & AVAIL_NO_INTERRUPT) == 0;
    bool wanted =
        !queue->signalled_known || event_was_passed(load_ordered(queue->avail, used_event_offset(queue)),
                                                    queue->next_used, queue->signalled_used);
    queue->signalled_used = queue->next_used;
    queue->signalled_known = true;
    return wanted;
}

void split_queue_disable_kicks(struct split_queue *queue)
{
    if (queue->event_idx || queue->kicks_off)
        return;
    store_ordered(queue->used, RING_FLAGS, USED_NO_NOTIFY);
    queue->kicks_off = true;
}

bool split_queue_enable_kicks(struct split_queue *queue)
{
    if (queue->event_idx)
        store_ordered(queue->used, avail_event_offset(queue), queue->next_avail);
    else
        store_ordered(queue->used, RING_FLAGS, 0);
    queue->kicks_off = false;
    return load_ordered(queue->avail, RING_IDX) != queue->next_avail;
}
