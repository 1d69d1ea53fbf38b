/* While a lock waits for a lease on its file to end, other files can be locked. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../unit/fs/rig.h"

#define LEASE_SECONDS 5

struct waiter {
    struct rig *rig;
    void *file;
    int result;
};

static int lock(struct rig *rig, void *file)
{
    const struct oriel_fs_lock wanted = {.end = INT64_MAX, .type = F_WRLCK, .pid = 1, .owner = 1};
    return rig->fs.ops->setlk(rig->fs.fs, file, NULL, &wanted);
}

static void *lock_leased(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = lock(waiter->rig, waiter->file);
    return NULL;
}

/* Says 'l' when it has the lease and 'b' when somebody wants to open the file; keeps it until it is told, or for
 * LEASE_SECONDS. */
static void hold_lease(const char *path, int tell, int told)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0)
        _exit(errno == EINVAL || errno == EAGAIN ? 77 : 1);
    (void)!write(tell, "l", 1);
    int number;
    sigwait(&set, &number);
    (void)!write(tell, "b", 1);
    struct pollfd end = {.fd = told, .events = POLLIN};
    poll(&end, 1, LEASE_SECONDS * 1000);
    _exit(0);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void close_all(int from_holder, const int to_holder[2])
{
    close(from_holder);
    close(to_holder[0]);
    close(to_holder[1]);
}

static void free_rig(struct rig *rig, struct waiter *waiter, void *other)
{
    rig_close(rig, other);
    rig_close(rig, waiter->file);
    rig_free(rig);
}

static void other_files_can_be_locked_meanwhile(void **state)
{
    (void)state;
    int from_holder[2], to_holder[2];
    char said = 0;
    pthread_t thread;
    struct rig *rig = rig_new();
    host_file(rig, "leased", "x");
    host_file(rig, "other", "x");
    struct waiter waiter = {rig, rig_lookup(rig, rig->root, "leased"), -1};
    void *other = rig_lookup(rig, rig->root, "other");
    assert_int_equal(pipe2(from_holder, O_CLOEXEC), 0);
    assert_int_equal(pipe2(to_holder, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t holder = fork();
    if (holder == 0)
        hold_lease(on_host(rig, "leased"), from_holder[1], to_holder[0]);
    close(from_holder[1]);
    if (read(from_holder[0], &said, 1) != 1) {
        int status;
        waitpid(holder, &status, 0);
        close_all(from_holder[0], to_holder);
        free_rig(rig, &waiter, other);
        assert_int_equal(WEXITSTATUS(status), 77);
        print_message("no leases on this file system\n");
        skip();
    }
    assert_int_equal(pthread_create(&thread, NULL, lock_leased, &waiter), 0);
    assert_int_equal(read(from_holder[0], &said, 1), 1);
    assert_int_equal(said, 'b');
    double start = now();
    assert_int_equal(lock(rig, other), 0);
    double seconds = now() - start;
    assert_int_equal(write(to_holder[1], "", 1), 1);
    pthread_join(thread, NULL);
    assert_int_equal(waiter.result, 0);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
    assert_true(seconds < LEASE_SECONDS - 1);
    close_all(from_holder[0], to_holder);
    free_rig(rig, &waiter, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(other_files_can_be_locked_meanwhile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
