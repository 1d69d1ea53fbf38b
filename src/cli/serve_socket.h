/* The socket that front-ends connect to. */
#ifndef ORIEL_CLI_SERVE_SOCKET_H
#define ORIEL_CLI_SERVE_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

struct serve_socket {
    int fd;
    bool listening;   /* else it is connected already */
    const char *path; /* NULL: given as a descriptor */
    dev_t dev;        /* of the socket file, so that only ours is removed */
    ino_t ino;
};

/* Makes a listening socket at path; group may be NULL. A stale socket file is replaced. False: see stderr. */
bool serve_socket_listen(struct serve_socket *s, const char *path, const char *group);

/* Takes a descriptor that was handed to the process. False: see stderr. */
bool serve_socket_adopt(struct serve_socket *s, int fd);

/* Removes the socket file, if it is still ours. */
void serve_socket_unlink(const struct serve_socket *s);

#endif
