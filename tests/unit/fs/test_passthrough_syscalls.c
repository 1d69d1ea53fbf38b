/* How many system calls each operation costs, counted with ptrace(2). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rig.h"

#define CASES_MAX 64
#define MARK      SYS_getppid /* brackets what is counted; the code under test never calls it */

static const oriel_fs_caller user = {.uid = 4321, .gid = 8765};

struct counted {
    const char *what;
    unsigned at_most;
};

/* In the order in which run() brackets them. */
static const struct counted cases[] = {
    {"LOOKUP of a new name", 2},
    {"LOOKUP of a known name", 1},
    {"LOOKUP of a missing name", 1},
    {"OPEN, the first of an inode", 2},
    {"READ", 1},
    {"WRITE", 1},
    {"GETATTR with a handle", 1},
    {"FLUSH", 0},
    {"GETATTR of an open file", 1},
    {"RELEASE", 1},
    {"OPEN again", 1},
    {"RELEASE", 1},
    {"GETATTR, no descriptor at hand", 2},
    {"GETATTR, descriptor cached", 1},
    {"SETATTR of the mode", 2},
    {"RENAME", 1},
    {"FORGET, descriptor cached", 1},
    {"UNLINK", 1},
    {"CREATE", 3},
    {"RELEASE", 1},
    {"FORGET", 0},
    {"CREATE as another caller", 6},
    {"RELEASE", 1},
    {"CREATE as the same caller", 3},
    {"RELEASE", 1},
    {"LOOKUP as that caller", 1},
    {"MKDIR", 2},
    {"OPENDIR of a new folder", 2},
    {"READDIR of a short folder", 2},
    {"LOOKUP below an open folder", 1},
    {"RELEASEDIR", 1},
    {"MAP_OPEN of a new inode", 2},
    {"MAP_OPEN again", 1},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static void mark(void)
{
    syscall(MARK);
}

static bool take_all(void *arg, const struct oriel_fs_dirent *entry)
{
    (void)arg;
    (void)entry;
    return true;
}

/* Returns 0 when all operations worked. Each is between two marks. */
static int run(struct rig *rig)
{
    const struct oriel_fs_ops *ops = rig->fs.ops;
    void *fs = rig->fs.fs, *root = rig->root, *file = NULL, *other = NULL, *sub = NULL;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    struct oriel_fs_attr attr = {.mode = 0600}, out;
    struct iovec iov = {&out, 8};
    bool writable;
    int err = 0;
#define COUNT(expression)                                                                                    \
    do {                                                                                                     \
        mark();                                                                                              \
        long result = (expression);                                                                          \
        mark();                                                                                              \
        if (result < 0)                                                                                      \
            return (int)-result;                                                                             \
    } while (0)
    mark();
    err = ops->lookup(fs, &as_root, root, "file", &entry);
    if (err == 0)
        err = ops->inode_open(fs, root, "file", &entry, &file);
    mark();
    if (err != 0)
        return -err;
    mark();
    err = ops->lookup(fs, &as_root, root, "file", &entry);
    ops->entry_drop(fs, &entry);
    mark();
    COUNT(ops->lookup(fs, &as_root, root, "missing", &entry) == -ENOENT ? 0 : -1);
    COUNT(ops->open(fs, &as_root, file, O_RDWR, 0, &opened));
    COUNT(ops->read(fs, file, opened.handle, &iov, 1, 0));
    COUNT(ops->write(fs, &as_root, file, opened.handle, &iov, 1, 0, 0));
    COUNT(ops->getattr(fs, &as_root, file, opened.handle, &out));
    COUNT(ops->flush(fs, file, opened.handle, 0));
    COUNT(ops->getattr(fs, &as_root, file, NULL, &out));
    COUNT((ops->release(fs, file, opened.handle, 0, false), 0));
    COUNT(ops->open(fs, &as_root, file, O_RDWR, 0, &opened));
    COUNT((ops->release(fs, file, opened.handle, 0, false), 0));
    COUNT(ops->getattr(fs, &as_root, file, NULL, &out));
    COUNT(ops->getattr(fs, &as_root, file, NULL, &out));
    COUNT(ops->setattr(fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_MODE, &out));
    COUNT(ops->rename(fs, &as_root, root, "file", root, "renamed", 0));
    COUNT((ops->inode_close(fs, file), 0));
    COUNT(ops->unlink(fs, &as_root, root, "renamed"));
    /* The first creation of a thread gives it a umask of its own. */
    if (ops->mknod(fs, &as_root, root, "first", S_IFREG | 0600, 0, 022, &entry) != 0)
        return 1;
    mark();
    err = ops->create(fs, &as_root, root, "new", 0644, O_RDWR | O_EXCL, 022, 0, &entry, &opened);
    if (err == 0)
        err = ops->inode_open(fs, root, "new", &entry, &file);
    mark();
    if (err != 0)
        return -err;
    COUNT((ops->release(fs, file, opened.handle, 0, false), 0));
    COUNT((ops->inode_close(fs, file), 0));
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "users" : "users-too";
        mark();
        err = ops->create(fs, &user, root, name, 0644, O_RDWR | O_EXCL, 022, 0, &entry, &opened);
        if (err == 0)
            err = ops->inode_open(fs, root, name, &entry, &other);
        mark();
        if (err != 0)
            return -err;
        COUNT((ops->release(fs, other, opened.handle, 0, false), 0));
        ops->inode_close(fs, other);
    }
    COUNT(ops->lookup(fs, &user, root, "users", &entry));
    COUNT(ops->mkdir(fs, &user, root, "sub", 0755, 022, &entry));
    if (ops->inode_open(fs, root, "sub", &entry, &sub) != 0)
        return 1;
    COUNT(ops->opendir(fs, &user, sub, 0, &opened));
    COUNT(ops->readdir(fs, sub, opened.handle, 0, take_all, NULL));
    COUNT(ops->lookup(fs, &user, sub, "missing", &entry) == -ENOENT ? 0 : -1);
    COUNT((ops->releasedir(fs, sub, opened.handle), 0));
    if (ops->lookup(fs, &as_root, root, "new", &entry) != 0 ||
        ops->inode_open(fs, root, "new", &entry, &file) != 0)
        return 1;
    int fd;
    COUNT(fd = ops->map_open(fs, file, true, &writable));
    close(fd);
    COUNT(fd = ops->map_open(fs, file, true, &writable));
    close(fd);
    return 0;
#undef COUNT
}

/* Follows the child to its end. counts: system calls between marks. False: it can't be traced. */
static bool follow(pid_t pid, unsigned *counts, unsigned *count, int *status)
{
    unsigned now = 0;
    bool inside = false, first = true;
    *count = 0;
    for (;;) {
        if (waitpid(pid, status, 0) != pid)
            return false;
        if (WIFEXITED(*status) || WIFSIGNALED(*status))
            return !first;
        if (first && ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0)
            return false;
        first = false;
        struct __ptrace_syscall_info info = {0};
        if (WSTOPSIG(*status) == (SIGTRAP | 0x80) &&
            ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0 &&
            info.op == PTRACE_SYSCALL_INFO_ENTRY) {
            if (info.entry.nr == MARK) {
                if (inside && *count < CASES_MAX)
                    counts[(*count)++] = now;
                inside = !inside;
                now = 0;
            } else {
                now++;
            }
        }
        if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) != 0)
            return false;
    }
}

static void each_operation_costs_what_it_should(void **state)
{
    (void)state;
    SKIP_UNLESS_ROOT();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("a sanitizer makes system calls of its own\n");
    skip();
#endif
    unsigned counts[CASES_MAX], count = 0;
    struct rig *rig = rig_new();
    host_file(rig, "file", "content");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        /* Made here: /proc/self is this process. */
        rig_reopen(rig,
                   &(struct oriel_passthrough_options){.switch_credentials = true, .keep_credentials = true});
        _exit(run(rig));
    }
    int status = 0;
    bool traced = follow(pid, counts, &count, &status);
    rig_free(rig);
    if (!traced || (WIFEXITED(status) && WEXITSTATUS(status) == 77)) {
        print_message("ptrace is not permitted here\n");
        skip();
    }
    unsigned too_many = 0;
    for (unsigned i = 0; i < count && i < CASES; i++) {
        print_message("# %-32s %u of %u\n", cases[i].what, counts[i], cases[i].at_most);
        too_many += counts[i] > cases[i].at_most;
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(count, CASES);
    assert_int_equal(too_many, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_operation_costs_what_it_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
