/*
 * The entries of one folder: an array in the order of their making, and a hash index over it.
 *
 * Each entry has a cookie that never changes and is larger than those before it. So a listing that continues
 * at a cookie finds its place by binary search, whatever was added or removed meanwhile: nothing that was
 * there all along is lost or comes twice. Removed entries leave a gap in the array; it is closed when gaps
 * are many. The folder's lock protects it; for writing where the argument is not const.
 */
#ifndef ORIEL_FS_MEMORY_FOLDER_H
#define ORIEL_FS_MEMORY_FOLDER_H

#include <stddef.h>
#include <stdint.h>

struct memfs_inode;

struct memfs_hash_key {
    uint64_t k0, k1;
};

struct memfs_dirent {
    struct memfs_inode *inode; /* holds a reference */
    uint8_t type;              /* DT_* */
    uint8_t name_len;
    char name[]; /* NUL-terminated */
};

struct memfs_slot;

struct memfs_folder {
    struct memfs_slot *slots;
    uint32_t *index; /* slot number + 1; 0: free */
    uint32_t used;   /* slots, gaps among them */
    uint32_t live;   /* slots without the gaps */
    uint32_t first;  /* no slot before it is live */
    uint32_t slot_capacity, index_capacity;
    uint64_t next_cookie;
};

#define MEMFS_COOKIE_SELF   1 /* "." */
#define MEMFS_COOKIE_PARENT 2 /* ".." */
#define MEMFS_COOKIE_FIRST  3

void memfs_folder_init(struct memfs_folder *folder);
void memfs_folder_destroy(struct memfs_folder *folder); /* its entries were removed */

/* NULL: no such name. The entry lives until it is removed. */
struct memfs_dirent *memfs_folder_find(const struct memfs_folder *folder, const struct memfs_hash_key *key,
                                       const char *name);

/* Makes an entry that names inode, outside the folder; its reference becomes the entry's. NULL: no memory. */
struct memfs_dirent *memfs_dirent_create(const char *name, struct memfs_inode *inode);

/* Makes sure that the next insert cannot fail. -ENOSPC. */
int memfs_folder_reserve(struct memfs_folder *folder);
/* The name is not in the folder, and memfs_folder_reserve went well. Takes the entry over. */
void memfs_folder_insert(struct memfs_folder *folder, const struct memfs_hash_key *key,
                         struct memfs_dirent *entry);
/* Takes the entry out and frees it; its reference is the caller's again. */
void memfs_folder_remove(struct memfs_folder *folder, const struct memfs_hash_key *key,
                         struct memfs_dirent *entry);

/* The first entry whose cookie is larger than `after`; *position (0 at first) speeds up going on. NULL: none.
 */
const struct memfs_dirent *memfs_folder_next(const struct memfs_folder *folder, uint64_t after,
                                             uint32_t *position, uint64_t *cookie);

#endif
