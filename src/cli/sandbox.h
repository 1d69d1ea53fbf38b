/*
 * The daemon's own walls: what a process that has been taken over could still do.
 *
 * In order: sandbox_enter() (namespaces; from here on in the child), the back-end is made and opens what it
 * needs, sandbox_confine() (the share becomes the root, capabilities go, Landlock, seccomp), threads are
 * started.
 */
#ifndef ORIEL_CLI_SANDBOX_H
#define ORIEL_CLI_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sandbox_mode {
    SANDBOX_NAMESPACE,
    SANDBOX_CHROOT,
    SANDBOX_NONE,
};

enum sandbox_seccomp {
    SECCOMP_KILL,
    SECCOMP_LOG,
    SECCOMP_TRAP,
    SECCOMP_NONE,
};

#define SANDBOX_ID_MAPS 16

struct sandbox_id_map {
    uint32_t inside, outside, count;
};

struct sandbox_options {
    enum sandbox_mode mode;
    enum sandbox_seccomp seccomp;
    struct sandbox_id_map uid_map[SANDBOX_ID_MAPS], gid_map[SANDBOX_ID_MAPS];
    size_t uid_maps, gid_maps;
    const char *modcaps; /* "+name:-name", or NULL */
    bool file_handles; /* the back-end may open by file handle: keeps CAP_DAC_READ_SEARCH, less of Landlock */
    bool device_nodes; /* the back-end may make them: keeps CAP_MKNOD */
    bool read_only;    /* so is the share's mount, in namespace mode */
};

/*
 * share_fd: the shared folder, opened with O_PATH; path: what it was opened by. In namespace mode this forks:
 * the parent returns only to tell the child's exit status in *status (and false); the child goes on with
 * *share_fd opened anew inside its namespace. False with *status == CLI_USAGE: it could not be done, one line
 * on stderr said why.
 */
bool sandbox_enter(const struct sandbox_options *options, const char *path, int *share_fd, int *status);

/* As sandbox_enter(), without the fork. */
bool sandbox_confine(const struct sandbox_options *options, int share_fd);

/* ---- the parts ---- */

/* Drops all capabilities but those the back-end uses, as changed by modcaps. False: see stderr. */
bool sandbox_drop_capabilities(const struct sandbox_options *options);

/* True when modcaps is well-formed and names capabilities. */
bool sandbox_check_modcaps(const char *modcaps);

/*
 * Where the kernel has Landlock: no TCP, no signals and abstract sockets of others, no execution, and no files but
 * those beneath share_fd. With file handles the last is not possible, and execution is forbidden only where
 * share_fd is the root of a mount. False: see stderr.
 */
bool sandbox_landlock(int share_fd, bool file_handles);

/* Lets only the system calls through that the daemon makes. False: see stderr. */
bool sandbox_seccomp(enum sandbox_seccomp action);

#endif
