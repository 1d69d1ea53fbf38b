/* locks: record locks, open file description locks and flock, between processes. */
#include "log.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static struct flock range(short type, off_t start, off_t len)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static int lock(int fd, int command, short type, off_t start, off_t len)
{
    struct flock lock = range(type, start, len);
    return fcntl(fd, command, &lock);
}

static void ask(int fd, short type, off_t start, off_t len, pid_t expected)
{
    struct flock lock = range(type, start, len);
    if (fcntl(fd, F_GETLK, &lock) != 0)
        log_line("  F_GETLK: %s", strerrorname_np(errno));
    else if (lock.l_type == F_UNLCK)
        log_line("  %ld+%ld is free", (long)start, (long)len);
    else
        log_line("  %ld+%ld: held: type %d, %ld+%ld, by %s", (long)start, (long)len, lock.l_type,
                 (long)lock.l_start, (long)lock.l_len,
                 lock.l_pid == expected ? "the parent" : "somebody else");
}

static pid_t parent;

static void look_at_locks(void *arg)
{
    (void)arg;
    int fd = open("f", O_RDWR);
    ask(fd, F_WRLCK, 0, 10, parent);
    ask(fd, F_RDLCK, 0, 10, parent);
    ask(fd, F_WRLCK, 15, 10, parent);
    ask(fd, F_WRLCK, 100, 0, parent);
    ask(fd, F_RDLCK, 0, 0, parent);
    T(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    T(lock(fd, F_SETLK, F_RDLCK, 0, 10));
    T(lock(fd, F_SETLK, F_RDLCK, 50, 10));
    T(lock(fd, F_SETLK, F_WRLCK, 50, 10));
    T(lock(fd, F_SETLK, F_WRLCK, 60, 20));
    T(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    T(flock(fd, LOCK_EX | LOCK_NB));
    T(flock(fd, LOCK_SH | LOCK_NB));
}

static void look(const char *what)
{
    log_line("-- %s", what);
    join("--", start(look_at_locks, NULL));
}

static void on_alarm(int signal)
{
    (void)signal;
}

/* Waits for a lock until a signal comes. */
static void wait_interrupted(void *arg)
{
    (void)arg;
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    int fd = open("f", O_RDWR);
    alarm(1);
    T(lock(fd, F_SETLKW, F_WRLCK, 0, 10));
    alarm(1);
    T(flock(fd, LOCK_EX));
}

static void wait_for_lock(void *arg)
{
    int fd = open("f", O_RDWR);
    bool got = lock(fd, F_SETLKW, F_WRLCK, 0, 10) == 0;
    (void)!write(*(int *)arg, got ? "y" : "n", 1);
}

static void wait_for_ever(void *arg)
{
    (void)arg;
    int fd = open("f", O_RDWR);
    (void)lock(fd, F_SETLKW, F_WRLCK, 0, 10);
    _exit(7);
}

static void hold_and_die(void *arg)
{
    int fd = open("f", O_RDWR);
    (void)lock(fd, F_SETLK, F_WRLCK, 1000, 10);
    (void)flock(fd, LOCK_EX);
    (void)!write(*(int *)arg, "x", 1);
    pause();
}

void topic_locks(void)
{
    parent = getpid();
    put("f", "0123456789", 0644);
    int fd = FD(open("f", O_RDWR));
    T(lock(fd, F_SETLK, F_WRLCK, 0, 5));
    T(lock(fd, F_SETLK, F_RDLCK, 20, 30));
    T(lock(fd, F_SETLK, F_RDLCK, 50, 20));
    look("three locks");
    T(lock(fd, F_SETLK, F_WRLCK, 30, 5));
    T(lock(fd, F_SETLK, F_UNLCK, 2, 1));
    look("split");
    T(lock(fd, F_SETLK, F_WRLCK, 100, 0));
    look("to the end of the file");
    /* Any close of the file in the process ends its record locks. */
    int again = open("f", O_RDONLY);
    T(close(again));
    look("closed another descriptor");
    T(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    join("waits until a signal", start(wait_interrupted, NULL));
    pid_t killed = start(wait_for_ever, NULL);
    usleep(100000);
    T(kill(killed, SIGKILL));
    join("killed while it waits", killed);
    int told[2];
    T(pipe(told));
    pid_t waiter = start(wait_for_lock, &told[1]);
    usleep(200000);
    T(lock(fd, F_SETLK, F_UNLCK, 0, 10));
    char byte;
    T(read(told[0], &byte, 1));
    T(byte == 'y');
    join("waited", waiter);
    T(lock(fd, F_SETLK, F_WRLCK, 0, 10)); /* it ended, and its lock with it */
    T(lock(fd, F_SETLK, F_UNLCK, 0, 0));

    /* flock: by open file, not by process. */
    T(flock(fd, LOCK_SH));
    int other = FD(open("f", O_RDWR));
    T(flock(other, LOCK_SH | LOCK_NB));
    T(flock(other, LOCK_EX | LOCK_NB));
    int copy = dup(fd);
    T(flock(copy, LOCK_EX | LOCK_NB));
    T(flock(other, LOCK_UN));
    T(flock(copy, LOCK_EX | LOCK_NB));
    look("flock exclusive");
    T(close(fd));
    T(flock(other, LOCK_SH | LOCK_NB));
    T(close(copy));
    /* The kernel tells a FUSE server of the last close when close() has long returned. */
    for (int i = 0; i < 100 && flock(other, LOCK_SH | LOCK_NB) != 0; i++)
        usleep(10000);
    T(flock(other, LOCK_SH | LOCK_NB));
    T(flock(other, 99));

    /* Locks end with their process. */
    pid_t holder = start(hold_and_die, &told[1]);
    T(flock(other, LOCK_UN));
    T(read(told[0], &byte, 1));
    T(lock(other, F_SETLK, F_WRLCK, 1000, 10));
    T(kill(holder, SIGKILL));
    join("holder", holder);
    T(lock(other, F_SETLK, F_WRLCK, 1000, 10));
    T(flock(other, LOCK_EX));

    /* Locks by open file description. */
    fd = FD(open("f", O_RDWR));
    T(lock(other, F_SETLK, F_UNLCK, 0, 0));
    T(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
    T(lock(other, F_OFD_SETLK, F_WRLCK, 0, 10));
    T(lock(other, F_SETLK, F_WRLCK, 0, 10));
    T(lock(other, F_OFD_SETLK, F_RDLCK, 10, 10));
    close(fd);
    for (int i = 0; i < 100 && lock(other, F_OFD_SETLK, F_WRLCK, 0, 10) != 0; i++)
        usleep(10000); /* as above */
    T(lock(other, F_OFD_SETLK, F_WRLCK, 0, 10));
    close(other);

    fd = FD(open("f", O_RDONLY));
    T(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    T(lock(fd, F_SETLK, F_RDLCK, 0, 10));
    T(lock(fd, F_SETLK, F_RDLCK, -1, 10));
    T(lock(fd, F_SETLK, 99, 0, 10));
    close(fd);
}
