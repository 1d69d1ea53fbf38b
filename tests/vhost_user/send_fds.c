#include "send_fds.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

ssize_t send_with_fds(int socket, const void *data, size_t len, const int *fds, unsigned fd_count, int flags)
{
    union {
        char bytes[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    assert(fd_count <= SEND_FDS_MAX);
    memset(&control, 0, sizeof(control));
    if (fd_count > 0) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    return sendmsg(socket, &header, flags);
}
