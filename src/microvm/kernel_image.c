#include "microvm/kernel_image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "microvm/layout.h"

static int open_regular(struct kernel_image *image, struct vm_error *error)
{
    struct stat st;
    image->fd = open(image->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (image->fd < 0 || fstat(image->fd, &st) != 0) {
        int err = -errno;
        return vm_fail(error, err, "cannot read the kernel '%s': %s; name another with --kernel", image->path,
                       strerror(-err));
    }
    if (!S_ISREG(st.st_mode))
        return vm_fail(error, -EINVAL, "the kernel '%s' is not a file; name one with --kernel", image->path);
    image->len = (uint64_t)st.st_size;
    return 0;
}

static int recognize(struct kernel_image *image, struct vm_error *error)
{
    uint8_t head[SELFMAG];
    int err = kernel_image_read(image, 0, head, sizeof(head), error);
    if (err != 0)
        return err;
    if (memcmp(head, ELFMAG, SELFMAG) == 0)
        return pvh_recognize(image, error);
    return bzimage_recognize(image, error);
}

int kernel_image_open(const char *path, struct kernel_image *image, struct vm_error *error)
{
    *image = (struct kernel_image){.path = path, .fd = -1};
    int err = open_regular(image, error);
    if (err == 0)
        err = recognize(image, error);
    if (err != 0)
        kernel_image_close(image);
    return err;
}

void kernel_image_close(struct kernel_image *image)
{
    if (image->fd >= 0)
        close(image->fd);
    image->fd = -1;
}

int kernel_image_read(const struct kernel_image *image, uint64_t offset, void *to, uint64_t len,
                      struct vm_error *error)
{
    if (!range_within(offset, len, image->len))
        return vm_fail(error, -EINVAL, "the kernel '%s' is cut short or no kernel", image->path);
    uint8_t *p = to;
    while (len > 0) {
        ssize_t n = pread(image->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return vm_fail(error, n < 0 ? -errno : -EINVAL, "cannot read the kernel '%s': %s", image->path,
                           n < 0 ? strerror(errno) : "it became shorter");
        p += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

int kernel_image_load(const struct kernel_image *image, const struct ram *ram,
                      const struct boot_payload *payload, struct boot_entry *entry, struct vm_error *error)
{
    if (image->kind == KERNEL_PVH)
        return pvh_load(image, ram, payload, entry, error);
    return bzimage_load(image, ram, payload, entry, error);
}

int place_initramfs(const struct ram *ram, const struct boot_payload *payload, uint64_t kernel_end,
                    uint64_t limit, uint64_t *gpa, struct vm_error *error)
{
    limit = align_down(min_u64(limit, ram->regions[0].len), 4096);
    uint64_t len = align_up(payload->initramfs_len, 4096);
    if (kernel_end > limit || len > limit - kernel_end)
        return vm_fail(error, -ENOSPC,
                       "kernel and initial file system do not fit into %llu MiB; give more with --mem",
                       (unsigned long long)(ram->size / LAYOUT_MIB));
    *gpa = limit - len;
    return ram_write(ram, *gpa, payload->initramfs, payload->initramfs_len);
}

int place_cmdline(const struct ram *ram, const char *cmdline, struct vm_error *error)
{
    size_t size = strlen(cmdline) + 1;
    if (size > LAYOUT_CMDLINE_SIZE)
        return vm_fail(error, -EINVAL, "the kernel command line is %zu bytes long, at most %d are possible",
                       size - 1, LAYOUT_CMDLINE_SIZE - 1);
    return ram_write(ram, LAYOUT_CMDLINE, cmdline, size);
}
