#include "microvm/initramfs.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int reserve(struct initramfs *fs, size_t more)
{
    if (more <= fs->capacity - fs->len)
        return 0;
    size_t capacity = fs->capacity * 2 > fs->len + more ? fs->capacity * 2 : fs->len + more;
    uint8_t *bytes = realloc(fs->bytes, capacity);
    if (bytes == NULL)
        return -ENOMEM;
    fs->bytes = bytes;
    fs->capacity = capacity;
    return 0;
}

static la_ssize_t take_bytes(struct archive *archive, void *opaque, const void *data, size_t len)
{
    struct initramfs *fs = opaque;
    if (reserve(fs, len) != 0) {
        archive_set_error(archive, ENOMEM, "out of memory");
        return -1;
    }
    memcpy(fs->bytes + fs->len, data, len);
    fs->len += len;
    return (la_ssize_t)len;
}

static int result_of(struct initramfs *fs, int result)
{
    if (result == ARCHIVE_OK)
        return 0;
    return archive_errno(fs->archive) == ENOMEM ? -ENOMEM : -EIO;
}

int initramfs_create(struct initramfs *fs)
{
    *fs = (struct initramfs){.archive = archive_write_new()};
    if (fs->archive == NULL)
        return -ENOMEM;
    int result = archive_write_set_format_cpio_newc(fs->archive);
    if (result == ARCHIVE_OK)
        result = archive_write_add_filter_none(fs->archive);
    if (result == ARCHIVE_OK)
        result = archive_write_set_bytes_in_last_block(fs->archive, 1);
    if (result == ARCHIVE_OK)
        result = archive_write_open(fs->archive, fs, NULL, take_bytes, NULL);
    int err = result_of(fs, result);
    if (err != 0)
        initramfs_destroy(fs);
    return err;
}

void initramfs_destroy(struct initramfs *fs)
{
    if (fs->archive != NULL)
        archive_write_free(fs->archive);
    free(fs->bytes);
    *fs = (struct initramfs){0};
}

static struct archive_entry *new_entry(const char *path, mode_t type, mode_t mode)
{
    struct archive_entry *entry = archive_entry_new();
    if (entry == NULL)
        return NULL;
    archive_entry_set_pathname(entry, path);
    archive_entry_set_filetype(entry, (unsigned)type);
    archive_entry_set_perm(entry, mode);
    archive_entry_set_nlink(entry, 1);
    archive_entry_set_size(entry, 0);
    return entry;
}

/* Takes the entry over. */
static int write_entry(struct initramfs *fs, struct archive_entry *entry, const void *data, size_t len)
{
    if (entry == NULL)
        return -ENOMEM;
    int err = result_of(fs, archive_write_header(fs->archive, entry));
    archive_entry_free(entry);
    if (err == 0 && len > 0 && archive_write_data(fs->archive, data, len) != (la_ssize_t)len)
        err = -EIO;
    return err;
}

int initramfs_add_folder(struct initramfs *fs, const char *path, mode_t mode)
{
    return write_entry(fs, new_entry(path, AE_IFDIR, mode), NULL, 0);
}

int initramfs_add_file(struct initramfs *fs, const char *path, mode_t mode, const void *data, size_t len)
{
    struct archive_entry *entry = new_entry(path, AE_IFREG, mode);
    if (entry != NULL)
        archive_entry_set_size(entry, (la_int64_t)len);
    return write_entry(fs, entry, data, len);
}

int initramfs_add_link(struct initramfs *fs, const char *path, const char *target)
{
    struct archive_entry *entry = new_entry(path, AE_IFLNK, 0777);
    if (entry != NULL)
        archive_entry_set_symlink(entry, target);
    return write_entry(fs, entry, NULL, 0);
}

int initramfs_add_char_device(struct initramfs *fs, const char *path, mode_t mode, unsigned major,
                              unsigned minor)
{
    struct archive_entry *entry = new_entry(path, AE_IFCHR, mode);
    if (entry != NULL) {
        archive_entry_set_rdevmajor(entry, major);
        archive_entry_set_rdevminor(entry, minor);
    }
    return write_entry(fs, entry, NULL, 0);
}

int initramfs_finish(struct initramfs *fs)
{
    return result_of(fs, archive_write_close(fs->archive));
}
