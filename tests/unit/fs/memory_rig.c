#include "memory_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct mem *mem_new(const struct oriel_memory_fs_options *given)
{
    struct mem *mem = calloc(1, sizeof(*mem));
    assert_non_null(mem);
    struct oriel_memory_fs_options options = given != NULL ? *given : (struct oriel_memory_fs_options){0};
    options.size = sizeof(options);
    assert_int_equal(oriel_memory_fs_create(&options, &mem->fs), 0);
    mem->ops = mem->fs.ops;
    mem->p = mem->fs.fs;
    struct oriel_fs_entry entry;
    assert_int_equal(mem->ops->root(mem->p, &entry, &mem->root), 0);
    return mem;
}

void mem_free(struct mem *mem)
{
    mem->ops->inode_close(mem->p, mem->root);
    mem->ops->destroy(mem->p);
    free(mem);
}

static void *entered(struct mem *mem, void *parent, const char *name, struct oriel_fs_entry *entry,
                     int result, int *error)
{
    if (error != NULL)
        *error = result;
    else
        assert_int_equal(result, 0);
    if (result != 0)
        return NULL;
    void *inode = NULL;
    assert_int_equal(mem->ops->inode_open(mem->p, parent, name, entry, &inode), 0);
    return inode;
}

void *mem_find(struct mem *mem, void *parent, const char *name, int *error)
{
    struct oriel_fs_entry entry;
    int result = mem->ops->lookup(mem->p, &mem->caller, parent, name, &entry);
    return entered(mem, parent, name, &entry, result, error);
}

void *mem_file(struct mem *mem, void *parent, const char *name, uint32_t mode, int *error)
{
    struct oriel_fs_entry entry;
    int result = mem->ops->mknod(mem->p, &mem->caller, parent, name, mode, 0, mem->umask, &entry);
    return entered(mem, parent, name, &entry, result, error);
}

void *mem_folder(struct mem *mem, void *parent, const char *name, uint32_t mode, int *error)
{
    struct oriel_fs_entry entry;
    int result = mem->ops->mkdir(mem->p, &mem->caller, parent, name, mode, mem->umask, &entry);
    return entered(mem, parent, name, &entry, result, error);
}

void mem_close(struct mem *mem, void *inode)
{
    mem->ops->inode_close(mem->p, inode);
}

int mem_unlink(struct mem *mem, void *parent, const char *name)
{
    return mem->ops->unlink(mem->p, &mem->caller, parent, name);
}

int mem_rename(struct mem *mem, void *parent, const char *name, void *to, const char *new_name,
               uint32_t flags)
{
    return mem->ops->rename(mem->p, &mem->caller, parent, name, to, new_name, flags);
}

struct oriel_fs_attr mem_attr(struct mem *mem, void *inode)
{
    struct oriel_fs_attr attr;
    assert_int_equal(mem->ops->getattr(mem->p, &mem->caller, inode, NULL, &attr), 0);
    return attr;
}

int mem_set(struct mem *mem, void *inode, uint32_t set, const struct oriel_fs_attr *attr)
{
    struct oriel_fs_attr out;
    return mem->ops->setattr(mem->p, &mem->caller, inode, NULL, attr, set, &out);
}

int mem_set_size(struct mem *mem, void *inode, uint64_t size)
{
    return mem_set(mem, inode, ORIEL_FS_SET_SIZE, &(struct oriel_fs_attr){.size = size});
}

ssize_t mem_write(struct mem *mem, void *inode, const void *data, size_t len, uint64_t offset)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    return mem->ops->write(mem->p, &mem->caller, inode, NULL, &iov, 1, offset, 0);
}

ssize_t mem_read(struct mem *mem, void *inode, void *data, size_t len, uint64_t offset)
{
    struct iovec iov = {data, len};
    return mem->ops->read(mem->p, inode, NULL, &iov, 1, offset);
}

struct listing {
    char text[4096];
    size_t len;
};

static bool add_name(void *arg, const struct oriel_fs_dirent *entry)
{
    struct listing *listing = arg;
    if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
        listing->len += (size_t)snprintf(listing->text + listing->len, sizeof(listing->text) - listing->len,
                                         "%s,", entry->name);
    return true;
}

const char *mem_list(struct mem *mem, void *folder)
{
    static struct listing listing;
    listing = (struct listing){.len = 0};
    assert_int_equal(mem->ops->readdir(mem->p, folder, NULL, 0, add_name, &listing), 0);
    return listing.text;
}

static struct oriel_fs_statfs statfs_of(struct mem *mem)
{
    struct oriel_fs_statfs st;
    assert_int_equal(mem->ops->statfs(mem->p, mem->root, &st), 0);
    return st;
}

uint64_t mem_used_bytes(struct mem *mem)
{
    struct oriel_fs_statfs st = statfs_of(mem);
    return (st.blocks - st.bfree) * st.frsize;
}

uint64_t mem_used_inodes(struct mem *mem)
{
    struct oriel_fs_statfs st = statfs_of(mem);
    return st.files - st.ffree;
}
