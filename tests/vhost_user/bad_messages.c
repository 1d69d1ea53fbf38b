#include "bad_messages.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void bad_put(struct bad *bad, uint32_t request, const void *payload, size_t len)
{
    bad->request = request;
    bad->len = len;
    if (len > 0)
        memcpy(bad->payload, payload, len);
}

void bad_put_u64(struct bad *bad, uint32_t request, uint64_t value)
{
    bad_put(bad, request, &value, sizeof(value));
}

void bad_put_state(struct bad *bad, uint32_t request, uint32_t index, uint32_t num)
{
    struct fe_state state = {.index = index, .num = num};
    bad_put(bad, request, &state, sizeof(state));
}

void bad_add_fd(struct bad *bad, int fd)
{
    bad->fds[bad->fd_count++] = fd;
}

int bad_new_memory(size_t len)
{
    int fd = memfd_create("extra", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, (off_t)len) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}
