/* What the tests of the memory back-end share: a back-end, and its operations with fewer words. */
#ifndef TESTS_UNIT_FS_MEMORY_RIG_H
#define TESTS_UNIT_FS_MEMORY_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <oriel/fs.h>
#include <oriel/memory_fs.h>

struct mem {
    struct oriel_fs fs;
    const struct oriel_fs_ops *ops;
    void *p; /* the back-end's own */
    void *root;
    oriel_fs_caller caller; /* root, no groups, unless a test changes it */
    uint32_t umask;
};

struct mem *mem_new(const struct oriel_memory_fs_options *options);
void mem_free(struct mem *mem);

/* Each gives an inode that mem_close ends, or NULL with *error set (error NULL: fails the test instead). */
void *mem_find(struct mem *mem, void *parent, const char *name, int *error);
void *mem_file(struct mem *mem, void *parent, const char *name, uint32_t mode, int *error);
void *mem_folder(struct mem *mem, void *parent, const char *name, uint32_t mode, int *error);
void mem_close(struct mem *mem, void *inode);

int mem_unlink(struct mem *mem, void *parent, const char *name);
int mem_rename(struct mem *mem, void *parent, const char *name, void *to, const char *new_name,
               uint32_t flags);
struct oriel_fs_attr mem_attr(struct mem *mem, void *inode);
int mem_set(struct mem *mem, void *inode, uint32_t set, const struct oriel_fs_attr *attr);
int mem_set_size(struct mem *mem, void *inode, uint64_t size);

ssize_t mem_write(struct mem *mem, void *inode, const void *data, size_t len, uint64_t offset);
ssize_t mem_read(struct mem *mem, void *inode, void *data, size_t len, uint64_t offset);

/* Names in the order of a listing, each followed by a comma, without "." and "..". */
const char *mem_list(struct mem *mem, void *folder);

uint64_t mem_used_bytes(struct mem *mem); /* in whole pages */
uint64_t mem_used_inodes(struct mem *mem);

#endif
