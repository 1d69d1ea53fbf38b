#include "microvm/vcpu_watch.h"

#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COUNTER_NAME      "pf_taken"
#define SUSPICIOUS_FAULTS 8 /* in VCPU_WATCH_INTERVAL_MS; a retry takes at most some milliseconds */
#define DESCRIPTORS_MAX   1024
#define NAME_MAX_SIZE     256

static bool read_exactly(int fd, void *to, size_t len, uint64_t offset)
{
    return pread(fd, to, len, (off_t)offset) == (ssize_t)len;
}

bool vcpu_watch_find_counter(int stats_fd, const char *name, uint64_t *offset)
{
    struct kvm_stats_header header;
    struct {
        struct kvm_stats_desc desc;
        char name[NAME_MAX_SIZE];
    } entry;
    if (!read_exactly(stats_fd, &header, sizeof(header), 0) || header.name_size == 0 ||
        header.name_size > NAME_MAX_SIZE || header.num_desc > DESCRIPTORS_MAX)
        return false;
    size_t size = sizeof(entry.desc) + header.name_size;
    for (uint32_t i = 0; i < header.num_desc; i++) {
        memset(&entry, 0, sizeof(entry));
        if (!read_exactly(stats_fd, &entry, size, header.desc_offset + i * size))
            return false;
        if (strncmp(entry.name, name, header.name_size) == 0) {
            *offset = (uint64_t)header.data_offset + entry.desc.offset;
            return true;
        }
    }
    return false;
}

void vcpu_watch_init(struct vcpu_watch *watch, int vcpu_fd)
{
    *watch = (struct vcpu_watch){.fd = ioctl(vcpu_fd, KVM_GET_STATS_FD, NULL)};
    if (watch->fd >= 0 && !vcpu_watch_find_counter(watch->fd, COUNTER_NAME, &watch->offset))
        vcpu_watch_destroy(watch);
}

void vcpu_watch_destroy(struct vcpu_watch *watch)
{
    if (watch->fd >= 0)
        close(watch->fd);
    watch->fd = -1;
}

bool vcpu_watch_is_suspect(struct vcpu_watch *watch)
{
    uint64_t faults;
    if (watch->fd < 0 || !read_exactly(watch->fd, &faults, sizeof(faults), watch->offset))
        return true;
    bool suspect = faults - watch->last >= SUSPICIOUS_FAULTS;
    watch->last = faults;
    return suspect;
}
