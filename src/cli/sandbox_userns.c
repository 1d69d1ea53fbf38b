#include "cli/sandbox_userns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAP_TEXT_MAX (SANDBOX_ID_MAPS * 40)

static bool complain(const char *what)
{
    fprintf(stderr, "oriel serve: sandbox: %s: %s\n", what, strerror(errno));
    return false;
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = write(fd, text, strlen(text));
    int err = errno;
    close(fd);
    errno = err;
    return n == (ssize_t)strlen(text);
}

static void map_text(const struct sandbox_id_map *maps, size_t count, char *text)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, MAP_TEXT_MAX - used, "%u %u %u\n", maps[i].inside,
                                 maps[i].outside, maps[i].count);
}

/* One user, one group: the process may write these maps itself. */
static bool map_self(uid_t uid, gid_t gid)
{
    char text[64];
    snprintf(text, sizeof(text), "0 %u 1\n", (unsigned)uid);
    if (!write_file("/proc/self/setgroups", "deny") || !write_file("/proc/self/uid_map", text))
        return complain("user ids cannot be mapped");
    snprintf(text, sizeof(text), "0 %u 1\n", (unsigned)gid);
    return write_file("/proc/self/gid_map", text) || complain("group ids cannot be mapped");
}

/* ---- ranges: written from outside, by us where we may and else by the setuid helpers ---- */

static void exec_helper(const char *helper, pid_t target, const struct sandbox_id_map *maps, size_t count)
{
    char numbers[SANDBOX_ID_MAPS * 3 + 1][16];
    const char *argv[SANDBOX_ID_MAPS * 3 + 3];
    size_t n = 0;
    argv[n++] = helper;
    snprintf(numbers[0], sizeof(numbers[0]), "%d", (int)target);
    argv[n++] = numbers[0];
    for (size_t i = 0; i < count; i++) {
        const uint32_t values[3] = {maps[i].inside, maps[i].outside, maps[i].count};
        for (size_t j = 0; j < 3; j++) {
            char *text = numbers[1 + i * 3 + j];
            snprintf(text, sizeof(numbers[0]), "%u", values[j]);
            argv[n++] = text;
        }
    }
    argv[n] = NULL;
    execvp(helper, (char **)(uintptr_t)argv);
    fprintf(stderr, "oriel serve: sandbox: %s cannot be started: %s\n", helper, strerror(errno));
    _exit(1);
}

static bool map_from_outside(const char *file, const char *helper, pid_t target,
                             const struct sandbox_id_map *maps, size_t count)
{
    char path[64], text[MAP_TEXT_MAX];
    int status;
    if (count == 0)
        return true;
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)target, file);
    map_text(maps, count, text);
    if (write_file(path, text))
        return true;
    pid_t pid = fork();
    if (pid == 0)
        exec_helper(helper, target, maps, count);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* The process that stays outside: waits until the other has moved, maps its ids, tells how it went by its
 * exit. */
static void map_for(pid_t target, int ready, const struct sandbox_options *options, uid_t uid, gid_t gid)
{
    char byte;
    const struct sandbox_id_map own_uid = {0, uid, 1}, own_gid = {0, gid, 1};
    if (read(ready, &byte, 1) != 1)
        _exit(1);
    bool ok =
        map_from_outside("uid_map", "newuidmap", target, options->uid_maps != 0 ? options->uid_map : &own_uid,
                         options->uid_maps != 0 ? options->uid_maps : 1) &&
        map_from_outside("gid_map", "newgidmap", target, options->gid_maps != 0 ? options->gid_map : &own_gid,
                         options->gid_maps != 0 ? options->gid_maps : 1);
    _exit(ok ? 0 : 1);
}

static bool enter_with_ranges(const struct sandbox_options *options)
{
    int ready[2], status;
    pid_t self = getpid();
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (pipe2(ready, O_CLOEXEC) != 0)
        return complain("pipe");
    pid_t outside = fork();
    if (outside < 0)
        return complain("fork");
    if (outside == 0) {
        close(ready[1]);
        map_for(self, ready[0], options, uid, gid);
    }
    close(ready[0]);
    bool ok = unshare(CLONE_NEWUSER) == 0 || complain("a user namespace is not permitted here");
    if (ok)
        ok = write(ready[1], "", 1) == 1;
    close(ready[1]);
    if (waitpid(outside, &status, 0) != outside || status != 0) {
        if (ok)
            fprintf(stderr, "oriel serve: sandbox: --uid-map or --gid-map is not permitted (see subuid(5), "
                            "newuidmap(1))\n");
        return false;
    }
    if (ok && (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0))
        return complain("id 0 is not mapped");
    return ok;
}

/* What there would be without a map: the process's own id is 0. */
static bool is_self(const struct sandbox_id_map *maps, size_t count, uint32_t id)
{
    return count == 0 || (count == 1 && maps[0].inside == 0 && maps[0].outside == id && maps[0].count == 1);
}

bool sandbox_enter_user_namespace(const struct sandbox_options *options)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    bool self = uid != 0 && is_self(options->uid_map, options->uid_maps, uid) &&
                is_self(options->gid_map, options->gid_maps, gid);
    if (!self && (options->uid_maps != 0 || options->gid_maps != 0))
        return enter_with_ranges(options);
    if (unshare(CLONE_NEWUSER) != 0)
        return complain("a user namespace is not permitted here (try --sandbox none)");
    return map_self(uid, gid);
}
