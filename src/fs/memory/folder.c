#include "fs/memory/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "fs/memory/memory.h"
#include "fs/memory/siphash.h"

struct memfs_slot {
    uint64_t cookie;
    uint64_t hash;
    struct memfs_dirent *entry; /* NULL: a gap */
};

#define MIN_SLOTS  8
#define KEEP_SLOTS 64 /* an array up to this size is never made smaller */
#define MAX_SLOTS  (UINT32_C(1) << 30)

void memfs_folder_init(struct memfs_folder *folder)
{
    *folder = (struct memfs_folder){.next_cookie = MEMFS_COOKIE_FIRST};
}

void memfs_folder_destroy(struct memfs_folder *folder)
{
    free(folder->slots);
    free(folder->index);
}

struct memfs_dirent *memfs_dirent_create(const char *name, struct memfs_inode *inode)
{
    size_t len = strnlen(name, MEMFS_NAME_MAX);
    struct memfs_dirent *entry = malloc(sizeof(*entry) + len + 1);
    if (entry == NULL)
        return NULL;
    entry->inode = inode;
    entry->type = (uint8_t)IFTODT(inode->type); /* whose lock is not held */
    entry->name_len = (uint8_t)len;
    memcpy(entry->name, name, len);
    entry->name[len] = '\0';
    return entry;
}

/* The index place that leads to the name, or the free place where probing for it ends. */
static uint32_t find_place(const struct memfs_folder *folder, uint64_t hash, const char *name, size_t len)
{
    uint32_t mask = folder->index_capacity - 1;
    uint32_t place = (uint32_t)hash & mask;
    for (; folder->index[place] != 0; place = (place + 1) & mask) {
        const struct memfs_slot *slot = &folder->slots[folder->index[place] - 1];
        if (slot->entry != NULL && slot->hash == hash && slot->entry->name_len == len &&
            memcmp(slot->entry->name, name, len) == 0)
            break;
    }
    return place;
}

static struct memfs_slot *find_slot(const struct memfs_folder *folder, const struct memfs_hash_key *key,
                                    const char *name)
{
    if (folder->live == 0)
        return NULL;
    size_t len = strlen(name);
    uint32_t place = find_place(folder, memfs_siphash(key->k0, key->k1, name, len), name, len);
    return folder->index[place] == 0 ? NULL : &folder->slots[folder->index[place] - 1];
}

struct memfs_dirent *memfs_folder_find(const struct memfs_folder *folder, const struct memfs_hash_key *key,
                                       const char *name)
{
    const struct memfs_slot *slot = find_slot(folder, key, name);
    return slot == NULL ? NULL : slot->entry;
}

static void index_slot(struct memfs_folder *folder, uint32_t number)
{
    uint32_t mask = folder->index_capacity - 1;
    uint32_t place = (uint32_t)folder->slots[number].hash & mask;
    while (folder->index[place] != 0)
        place = (place + 1) & mask;
    folder->index[place] = number + 1;
}

/* Closes the gaps and makes room for `capacity` slots. Nothing has changed when it fails. */
static int rebuild(struct memfs_folder *folder, uint32_t capacity)
{
    struct memfs_slot *slots = malloc(capacity * sizeof(*slots));
    uint32_t *index = calloc((size_t)capacity * 2, sizeof(*index));
    if (slots == NULL || index == NULL) {
        free(slots);
        free(index);
        return -ENOSPC;
    }
    uint32_t live = 0;
    for (uint32_t i = 0; i < folder->used; i++)
        if (folder->slots[i].entry != NULL)
            slots[live++] = folder->slots[i];
    free(folder->slots);
    free(folder->index);
    folder->slots = slots;
    folder->index = index;
    folder->used = live;
    folder->first = 0;
    folder->slot_capacity = capacity;
    folder->index_capacity = capacity * 2;
    for (uint32_t i = 0; i < live; i++)
        index_slot(folder, i);
    return 0;
}

int memfs_folder_reserve(struct memfs_folder *folder)
{
    if (folder->used < folder->slot_capacity)
        return 0;
    uint32_t capacity = MIN_SLOTS;
    while (capacity <
           folder->live + folder->live / 2 + 1) /* a third free at least, or it would be back soon */
        capacity *= 2;
    return capacity > MAX_SLOTS ? -ENOSPC : rebuild(folder, capacity);
}

void memfs_folder_insert(struct memfs_folder *folder, const struct memfs_hash_key *key,
                         struct memfs_dirent *entry)
{
    uint32_t number = folder->used++;
    folder->slots[number] = (struct memfs_slot){
        .cookie = folder->next_cookie++,
        .hash = memfs_siphash(key->k0, key->k1, entry->name, entry->name_len),
        .entry = entry,
    };
    index_slot(folder, number);
    folder->live++;
}

/* The last entry is gone: a large array goes too, a small one is made ready again. */
static void reset(struct memfs_folder *folder)
{
    folder->used = 0;
    folder->first = 0;
    if (folder->slot_capacity <= KEEP_SLOTS) {
        memset(folder->index, 0, folder->index_capacity * sizeof(*folder->index));
        return;
    }
    free(folder->slots);
    free(folder->index);
    *folder = (struct memfs_folder){.next_cookie = folder->next_cookie};
}

void memfs_folder_remove(struct memfs_folder *folder, const struct memfs_hash_key *key,
                         struct memfs_dirent *entry)
{
    struct memfs_slot *slot = find_slot(folder, key, entry->name);
    slot->entry = NULL; /* its place in the index stays, so that probing goes on past it */
    folder->live--;
    free(entry);
    while (folder->first < folder->used && folder->slots[folder->first].entry == NULL)
        folder->first++;
    if (folder->live == 0)
        reset(folder);
    else if (folder->slot_capacity > KEEP_SLOTS && folder->live < folder->slot_capacity / 8)
        (void)rebuild(folder, folder->slot_capacity / 4); /* only gives memory back */
}

/* The number of the first slot whose cookie is larger than `after`. */
static uint32_t search(const struct memfs_folder *folder, uint64_t after)
{
    uint32_t low = folder->first;
    uint32_t high = folder->used;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (folder->slots[middle].cookie > after)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

const struct memfs_dirent *memfs_folder_next(const struct memfs_folder *folder, uint64_t after,
                                             uint32_t *position, uint64_t *cookie)
{
    uint32_t at = *position;
    bool follows = at > 0 && at <= folder->used && folder->slots[at - 1].cookie == after;
    if (!follows)
        at = search(folder, after);
    while (at < folder->used && folder->slots[at].entry == NULL)
        at++;
    if (at == folder->used)
        return NULL;
    *position = at + 1;
    *cookie = folder->slots[at].cookie;
    return folder->slots[at].entry;
}
