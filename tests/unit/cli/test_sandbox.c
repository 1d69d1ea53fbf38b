/* The walls that a process puts around itself: each case does in a child what is forbidden, without them and within. */
#include "cli/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <oriel/worker_pool.h>

/* A folder with the share and a folder beside it, each with a file and a program. */
static char base[512];
static int share_fd, outside_fd;

static void make_tree(const char *name, int *fd)
{
    static const char program[] = "#!/bin/true\n";
    char path[sizeof(base) + 32];
    snprintf(path, sizeof(path), "%s/%s", base, name);
    assert_int_equal(mkdir(path, 0755), 0);
    *fd = open(path, O_PATH | O_DIRECTORY); /* inherited by the program: its interpreter reads it by that */
    int file = openat(*fd, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    assert_int_equal(write(file, program, sizeof(program) - 1), sizeof(program) - 1);
    close(file);
}

static int set_up(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    int len = snprintf(base, sizeof(base), "%s/sandbox-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_true(len > 0 && (size_t)len < sizeof(base));
    assert_non_null(mkdtemp(base));
    make_tree("share", &share_fd);
    make_tree("outside", &outside_fd);
    return 0;
}

static void remove_tree(const char *name, int fd)
{
    char path[sizeof(base) + 32];
    unlinkat(fd, "file", 0);
    unlinkat(fd, "made", 0);
    close(fd);
    snprintf(path, sizeof(path), "%s/%s", base, name);
    rmdir(path);
}

static int tear_down(void **state)
{
    (void)state;
    remove_tree("share", share_fd);
    remove_tree("outside", outside_fd);
    return rmdir(base);
}

/* ---- what a child does; its result is 0 or an errno ---- */

static int result_of(int r)
{
    return r < 0 ? errno : 0;
}

static int open_inside(void)
{
    return result_of(openat(share_fd, "file", O_RDWR));
}

static int make_inside(void)
{
    return result_of(openat(share_fd, "made", O_CREAT | O_RDWR, 0600));
}

static int open_by_inherited_descriptor(void)
{
    return result_of(openat(outside_fd, "file", O_RDONLY));
}

static int open_by_dot_dot(void)
{
    return result_of(openat(share_fd, "../outside/file", O_RDONLY));
}

static int open_by_path(void)
{
    char path[sizeof(base) + 32];
    snprintf(path, sizeof(path), "%s/outside/file", base);
    return result_of(open(path, O_RDONLY));
}

static int make_outside(void)
{
    return result_of(openat(outside_fd, "made", O_CREAT | O_RDWR, 0600));
}

static int list_outside(void)
{
    return result_of(openat(outside_fd, ".", O_RDONLY | O_DIRECTORY));
}

static int move_outside(void)
{
    int r = renameat(share_fd, "file", outside_fd, "made");
    int err = result_of(r);
    renameat(outside_fd, "made", share_fd, "file");
    return err == EXDEV ? EACCES : err; /* which of them depends on what is missing */
}

/* Execution that succeeds is exit status 0 too. */
static int execute_inside(void)
{
    char *argv[] = {(char *)(uintptr_t) "file", NULL};
    return result_of((int)syscall(SYS_execveat, share_fd, "file", argv, NULL, 0));
}

static int bind_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    return result_of(bind(s, (struct sockaddr *)&address, sizeof(address)));
}

static int signal_parent(void)
{
    return result_of(kill(getppid(), 0));
}

/* ---- the child ---- */

struct walls {
    bool landlock, file_handles, own_mount;
    const struct sandbox_options *confine;
};

/* The share becomes the root of a mount, as --sandbox namespace has it. */
static bool mount_share(void)
{
    char path[sizeof(base) + 32];
    snprintf(path, sizeof(path), "%s/share", base);
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(path, path, NULL, MS_BIND, NULL) != 0)
        return false;
    share_fd = open(path, O_PATH | O_DIRECTORY);
    return share_fd >= 0;
}

static bool put_up(const struct walls *walls)
{
    if (walls->own_mount && !mount_share())
        return false;
    if (walls->landlock && !sandbox_landlock(share_fd, walls->file_handles))
        return false;
    return walls->confine == NULL || sandbox_confine(walls->confine, share_fd);
}

/* The errno of what the child did, 0, or minus the signal that it died of. */
static int in_child(const struct walls *walls, int (*act)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSYS, SIG_DFL); /* cmocka catches it */
        _exit(put_up(walls) ? act() : 255);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static const struct walls none;

static void assert_forbids(const struct walls *walls, int (*act)(void), int err)
{
    assert_int_equal(in_child(&none, act), 0);
    assert_int_equal(in_child(walls, act), err);
}

static void skip_before_landlock(long version)
{
    long has = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    if (has >= version)
        return;
    print_message("SKIP: this kernel has no Landlock of version %ld or later\n", version);
    skip();
}

static void skip_where_nothing_is_executed(void)
{
    struct statvfs fs;
    assert_int_equal(statvfs(base, &fs), 0);
    if (!(fs.f_flag & ST_NOEXEC))
        return;
    print_message("SKIP: TMPDIR is on a noexec mount\n");
    skip();
}

/* ---- Landlock ---- */

static void assert_only_the_share_is_left(const struct walls *walls)
{
    assert_int_equal(in_child(walls, open_inside), 0);
    assert_int_equal(in_child(walls, make_inside), 0);
    assert_forbids(walls, open_by_inherited_descriptor, EACCES);
    assert_forbids(walls, open_by_dot_dot, EACCES);
    assert_forbids(walls, open_by_path, EACCES);
    assert_forbids(walls, make_outside, EACCES);
    assert_forbids(walls, list_outside, EACCES);
    assert_forbids(walls, move_outside, EACCES);
    assert_forbids(walls, execute_inside, EACCES);
}

static void landlock_leaves_only_the_share(void **state)
{
    (void)state;
    skip_where_nothing_is_executed();
    skip_before_landlock(2);
    assert_only_the_share_is_left(&(struct walls){.landlock = true});
}

/* What `oriel serve --sandbox none --inode-file-handles never` calls. */
static void confining_puts_landlock_up(void **state)
{
    (void)state;
    skip_where_nothing_is_executed();
    skip_before_landlock(2);
    const struct sandbox_options options = {.mode = SANDBOX_NONE, .seccomp = SECCOMP_NONE};
    assert_only_the_share_is_left(&(struct walls){.confine = &options});
}

static void landlock_forbids_tcp_with_file_handles_too(void **state)
{
    (void)state;
    skip_before_landlock(4);
    assert_forbids(&(struct walls){.landlock = true}, bind_tcp, EACCES);
    assert_forbids(&(struct walls){.landlock = true, .file_handles = true}, bind_tcp, EACCES);
}

static void landlock_forbids_signals_with_file_handles_too(void **state)
{
    (void)state;
    skip_before_landlock(6);
    assert_forbids(&(struct walls){.landlock = true}, signal_parent, EPERM);
    assert_forbids(&(struct walls){.landlock = true, .file_handles = true}, signal_parent, EPERM);
}

static void landlock_forbids_execution_with_file_handles_in_a_mount_of_its_own(void **state)
{
    (void)state;
    skip_where_nothing_is_executed();
    skip_before_landlock(2);
    const struct walls walls = {.landlock = true, .file_handles = true, .own_mount = true};
    if (geteuid() != 0 || in_child(&(struct walls){.own_mount = true}, open_inside) != 0) {
        print_message("SKIP: mounting is not permitted\n");
        skip();
    }
    long errata =
        syscall(SYS_landlock_create_ruleset, NULL, 0, 2); /* that are mended; or the query is unknown */
    if (errata < 0 || !(errata & 4)) {
        print_message("SKIP: this kernel's Landlock has erratum 3\n");
        skip();
    }
    assert_int_equal(in_child(&walls, open_inside), 0);
    assert_int_equal(in_child(&walls, make_inside), 0);
    assert_forbids(&walls, execute_inside, EACCES);
}

/* ---- seccomp ---- */

#if defined(__s390__)
#define CLONE_FLAGS_ARGUMENT 1
#else
#define CLONE_FLAGS_ARGUMENT 0
#endif

static int make_socket(void)
{
    return result_of((int)syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
}

static int unshare_users(void)
{
    return result_of((int)syscall(SYS_unshare, CLONE_NEWUSER));
}

static int own_umask(void)
{
    return result_of((int)syscall(SYS_unshare, CLONE_FS));
}

/* Like vfork(), and in namespaces of its own: waiting for the child's status is forbidden. */
static int clone_with(unsigned long flags)
{
    unsigned long argument[5] = {0};
    argument[CLONE_FLAGS_ARGUMENT] = flags | CLONE_VFORK | SIGCHLD;
    int pid = (int)syscall(SYS_clone, argument[0], argument[1], argument[2], argument[3], argument[4]);
    if (pid == 0)
        _exit(0);
    return result_of(pid);
}

static int clone_users(void)
{
    return clone_with(CLONE_NEWUSER);
}

static int clone_mounts(void)
{
    return clone_with(CLONE_NEWNS);
}

static int clone_no_namespace(void)
{
    return clone_with(0);
}

static int clone3_users(void)
{
    uint64_t arguments[8] = {CLONE_NEWUSER | CLONE_VFORK, 0, 0, 0, SIGCHLD};
    int pid = (int)syscall(SYS_clone3, arguments, sizeof(arguments));
    if (pid == 0)
        _exit(0);
    return result_of(pid);
}

static void *work(void *argument)
{
    return argument;
}

static int start_thread(void)
{
    pthread_t thread;
    int err = pthread_create(&thread, NULL, work, NULL);
    return err != 0 ? err : pthread_join(thread, NULL);
}

static int start_pool(void)
{
    struct oriel_worker_pool *pool;
    int err = oriel_worker_pool_create(NULL, &pool);
    if (err == 0)
        oriel_worker_pool_destroy(pool);
    return -err;
}

static int die_of(enum sandbox_seccomp action, int (*act)(void))
{
    const struct sandbox_options options = {.mode = SANDBOX_NONE, .seccomp = action, .file_handles = true};
    return in_child(&(struct walls){.confine = &options}, act);
}

static void a_forbidden_system_call_kills(void **state)
{
    (void)state;
    skip_where_nothing_is_executed();
    assert_int_equal(in_child(&none, make_socket), 0);
    assert_int_equal(die_of(SECCOMP_KILL, make_socket), -SIGSYS);
    assert_int_equal(die_of(SECCOMP_TRAP, make_socket), -SIGSYS);
    assert_int_equal(die_of(SECCOMP_KILL, unshare_users), -SIGSYS);
    assert_int_equal(die_of(SECCOMP_KILL, execute_inside), -SIGSYS);
    assert_int_equal(die_of(SECCOMP_LOG, make_socket), 0);
    assert_int_equal(die_of(SECCOMP_NONE, make_socket), 0);
    assert_int_equal(die_of(SECCOMP_KILL, own_umask), 0);
    assert_int_equal(die_of(SECCOMP_KILL, open_inside), 0);
}

static void clone_makes_threads_but_no_namespaces(void **state)
{
    (void)state;
    assert_int_equal(in_child(&none, clone_no_namespace), 0);
    assert_int_equal(die_of(SECCOMP_KILL, clone_no_namespace), 0);
    assert_int_equal(die_of(SECCOMP_KILL, clone_users), -SIGSYS);
    assert_int_equal(die_of(SECCOMP_KILL, clone_mounts), -SIGSYS);
    assert_int_equal(die_of(SECCOMP_KILL, clone3_users), ENOSYS);
    assert_int_equal(die_of(SECCOMP_KILL, start_thread), 0);
    assert_int_equal(die_of(SECCOMP_KILL, start_pool), 0);
}

static int has_no_new_privileges(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 1;
}

static void nothing_gains_privileges_any_more(void **state)
{
    (void)state;
    assert_int_equal(in_child(&none, has_no_new_privileges), 1);
    assert_int_equal(die_of(SECCOMP_KILL, has_no_new_privileges), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(landlock_leaves_only_the_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(confining_puts_landlock_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(landlock_forbids_tcp_with_file_handles_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(landlock_forbids_signals_with_file_handles_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(landlock_forbids_execution_with_file_handles_in_a_mount_of_its_own,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_forbidden_system_call_kills, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clone_makes_threads_but_no_namespaces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_gains_privileges_any_more, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
