/* How a vhost-user message goes out: bytes with descriptors beside them. */
#ifndef SEND_FDS_H
#define SEND_FDS_H

#include <stddef.h>
#include <sys/types.h>

#define SEND_FDS_MAX 64u

/* sendmsg() with at most SEND_FDS_MAX descriptors; more is a mistake of the test. Flags and result are sendmsg()'s. */
ssize_t send_with_fds(int socket, const void *data, size_t len, const int *fds, unsigned fd_count, int flags);

#endif
