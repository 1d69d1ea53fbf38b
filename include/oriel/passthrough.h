/*
 * The passthrough back-end: shares a host folder.
 *
 * Every host access is a directory descriptor and one checked component, never a path; symbolic links are
 * never followed; only regular files and folders are ever opened. docs/security.md says what that promises.
 *
 * An inode that the guest knows costs no descriptor: it is a file handle (name_to_handle_at) where the file
 * system has them and the process may open them (CAP_DAC_READ_SEARCH), else a name in a folder that the guest
 * knows too. A bounded cache keeps O_PATH descriptors of what is being worked on.
 *
 * A process with a bound on file sizes (RLIMIT_FSIZE) has to ignore or block SIGXFSZ: a guest's write over the
 * bound is -EFBIG then, and would end the process else.
 */
#ifndef ORIEL_PASSTHROUGH_H
#define ORIEL_PASSTHROUGH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/fs.h>
#include <oriel/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

enum oriel_file_handles {
    /* name_to_handle_at where the file system and our rights allow, else as NEVER */
    ORIEL_FILE_HANDLES_PREFER = 0,
    /* An inode is a place: a name in a folder, walked to again when it is used and compared with what was seen
     * there. A file that the host renames is -ESTALE until the guest looks it up again. */
    ORIEL_FILE_HANDLES_NEVER = 1,
    ORIEL_FILE_HANDLES_MANDATORY = 2, /* fail (at create, or for that submount) where there are none */
};

/* How ids of the guest and of the host correspond; `guest`, `host` and `count` name ranges. */
enum oriel_id_rule_kind {
    ORIEL_ID_MAP = 0,          /* both ways, one to one */
    ORIEL_ID_GUEST = 1,        /* guest to host only, one to one */
    ORIEL_ID_HOST = 2,         /* host to guest only, one to one */
    ORIEL_ID_SQUASH_GUEST = 3, /* every id of the guest's range is `host` */
    ORIEL_ID_SQUASH_HOST = 4,  /* every id of the host's range is shown as `guest` */
    ORIEL_ID_FORBID_GUEST = 5, /* the guest may not act as or give files to it: -EPERM */
};

struct oriel_id_rule {
    enum oriel_id_rule_kind kind;
    uint32_t guest, host;
    uint32_t count; /* of ids, from 1; a range ends before 2^32 - 1 */
};

struct oriel_passthrough_options {
    size_t size; /* sizeof(struct oriel_passthrough_options) */
    const char
        *dir;   /* the folder; opened once, at create; a symbolic link in the last component is refused */
    int dir_fd; /* used instead of dir when dir is NULL; stays the caller's */
    bool read_only;
    bool xattr; /* offer extended attributes */
    bool posix_acl;
    bool submounts; /* cross mount points and announce them; else what lies on them is out of reach: the
                       folder below the mount point shows where that is possible, else looking it up is
                       -EXDEV */
    /*
     * New files belong to the caller (needs CAP_SETUID and CAP_SETGID; the calling thread's credentials
     * change for the call); else to the process. Other operations act with the rights of the process: the
     * guest's kernel checks permissions, it alone knows the caller's supplementary groups.
     */
    bool switch_credentials;
    enum oriel_file_handles file_handles;
    uint64_t fd_budget; /* descriptors this back-end may hold, at most; 0 = from RLIMIT_NOFILE, leaving a
                           reserve: for one back-end in the process, several share it by saying so here */
    struct oriel_trace *trace;
    /* With switch_credentials: every operation on names, attributes and opens acts as the caller, so that the
     * host checks permissions again. Groups are those sent with the request. A request that does not tell its
     * caller is -EPERM, so the server's posix_acl, which lets guests leave it out, does not go with it. */
    bool enforce_credentials;
    /* A call may return with the thread's credentials and umask still switched, and its working folder
     * changed, which saves switching back and forth. For threads that do nothing else;
     * oriel_passthrough_restore_thread() gives credentials and umask back. The rights of the process are then
     * those of the thread that creates the back-end, on every thread (one that a switched thread starts inherits
     * its caller's): ids and groups must not change after create, capabilities may be given up. Needed for xattrs when the process
     * has changed its root (chroot, pivot_root) after create. */
    bool keep_credentials;
    bool device_nodes; /* let the guest make character and block devices; they are never opened here */
    bool no_fence; /* do not work on a private copy of the mount (nodev, nosymfollow, read-only when read_only
                      is set, ".." ends at the folder). Made where permitted (CAP_SYS_ADMIN, Linux 5.14) and
                      submounts is off; nothing depends on it */
    bool trusted_xattr;  /* with xattr: trusted.* too */
    bool security_xattr; /* with xattr: security.* too: capabilities and labels, which count on the host */
    /* Applied to owners, callers, groups and ACLs, the first rule that speaks of an id counts, other ids are
     * the same on both sides. Copied. At most 1,024 rules each. */
    const struct oriel_id_rule *uid_rules, *gid_rules;
    size_t uid_rule_count, gid_rule_count;
};

/*
 * Not to be used after fork(2) in the child: it holds /proc/self/fd of this process.
 * Errors: -EINVAL (options), -ENOENT (dir, or /proc), -ENOTDIR, -ELOOP (dir is a symbolic link), -EACCES,
 * -EPERM (switch_credentials without the capabilities), -EOPNOTSUPP (handles mandatory but not to be had),
 * -ENOMEM, -EMFILE. The caller owns out until a server takes it over.
 */
int oriel_passthrough_create(const struct oriel_passthrough_options *options, struct oriel_fs *out);

struct oriel_passthrough_stats {
    uint64_t descriptors;      /* held now: cached ones, open files and folders, lock owners */
    uint64_t descriptor_limit; /* opens beyond it are -ENFILE; calls in progress may pass it for a moment */
    uint64_t lock_owners;      /* of the guest that have POSIX locks, or had and did not close the file yet */
    bool file_handles;         /* inodes of the shared folder's mount are file handles */
    bool fenced;               /* work is on a private copy of the mount */
};

/* How the back-end is doing. Any thread. fs is what oriel_passthrough_create() gave; also after a server took
 * it over, as long as that lives. -EINVAL: fs is another back-end. */
int oriel_passthrough_get_stats(const struct oriel_fs *fs, struct oriel_passthrough_stats *out);

/* True when the process may use switch_credentials: the effective capabilities SETUID and SETGID. */
bool oriel_passthrough_can_switch_credentials(void);

/* Gives the calling thread its own credentials and umask back, after calls with keep_credentials. Does
 * nothing on a thread that never switched. */
void oriel_passthrough_restore_thread(void);

#ifdef __cplusplus
}
#endif

#endif
