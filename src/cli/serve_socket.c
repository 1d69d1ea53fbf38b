#include "cli/serve_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define STALE_PROBES   10
#define STALE_PROBE_US 20000

static bool complain(const char *path, const char *what)
{
    fprintf(stderr, "oriel serve: socket %s: %s\n", path, what);
    return false;
}

static bool is_refused(const struct sockaddr_un *address)
{
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return false;
    bool refused =
        connect(probe, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno == ECONNREFUSED;
    close(probe);
    return refused;
}

/* Nobody answers there: what is left of a daemon that was killed. One that has just begun refuses too, between its
 * bind() and its listen(), so it is asked for a while. */
static bool is_stale(const struct sockaddr_un *address)
{
    for (int i = 0; i < STALE_PROBES; i++) {
        if (!is_refused(address))
            return false;
        usleep(STALE_PROBE_US);
    }
    return true;
}

/* Binds with rights for the owner, and for the group if there is one. */
static int bind_socket(int fd, const struct sockaddr_un *address, bool for_group)
{
    mode_t before = umask(for_group ? 0007 : 0077);
    int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : errno;
    umask(before);
    return r;
}

static bool bind_or_replace(int fd, const struct sockaddr_un *address, bool for_group)
{
    struct stat st;
    const char *path = address->sun_path;
    int err = bind_socket(fd, address, for_group);
    if (err == EADDRINUSE) {
        if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
            return complain(path, "there is a file of that name");
        if (!is_stale(address))
            return complain(path, "in use by another process");
        unlink(path);
        err = bind_socket(fd, address, for_group);
    }
    return err == 0 || complain(path, strerror(err));
}

static bool give_to_group(const char *path, const char *group)
{
    struct group *entry = group != NULL ? getgrnam(group) : NULL;
    if (group == NULL)
        return true;
    if (entry == NULL) {
        fprintf(stderr, "oriel serve: there is no group '%s'\n", group);
        return false;
    }
    return lchown(path, (uid_t)-1, entry->gr_gid) == 0 || complain(path, strerror(errno));
}

bool serve_socket_listen(struct serve_socket *s, const char *path, const char *group)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    *s = (struct serve_socket){.fd = -1};
    if (strlen(path) >= sizeof(address.sun_path))
        return complain(path, "the path is too long for a socket");
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return complain(path, strerror(errno));
    if (!bind_or_replace(fd, &address, group != NULL)) {
        close(fd);
        return false;
    }
    *s = (struct serve_socket){.fd = fd, .listening = true, .path = path};
    if (lstat(path, &st) == 0) {
        s->dev = st.st_dev;
        s->ino = st.st_ino;
    }
    if (give_to_group(path, group) && (listen(fd, 1) == 0 || complain(path, strerror(errno))))
        return true;
    serve_socket_unlink(s);
    close(fd);
    return false;
}

bool serve_socket_adopt(struct serve_socket *s, int fd)
{
    int type, accepts;
    socklen_t len = sizeof(int);
    *s = (struct serve_socket){.fd = fd};
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_STREAM) {
        fprintf(stderr, "oriel serve: --fd %d is no stream socket\n", fd);
        return false;
    }
    len = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &len) == 0)
        s->listening = accepts != 0;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return true;
}

void serve_socket_unlink(const struct serve_socket *s)
{
    struct stat st;
    if (s->path != NULL && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
        unlink(s->path);
}
