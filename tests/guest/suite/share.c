/* The share as a whole: what it costs, that it can be read-only, unmounted, and changed by the host. */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Between the marks the host counts requests in its trace; see test_guest.py. */
static void sequential_reads(void)
{
    char *buffer = malloc(MIB);
    int fd = must_open("64m", O_RDONLY);
    size_t len = (size_t)must_size(fd);
    static const char *const steps[] = {"first-read", "second-read", "end-of-reads"};
    for (int round = 0; round < 2; round++) {
        mark(steps[round]);
        for (size_t at = 0; at < len; at += MIB) {
            must_pread(fd, buffer, MIB, (off_t)at);
            require_filled(buffer + at % 4096, 64, 90, at, "the host's file");
        }
    }
    mark(steps[2]);
}

static void mapped_loads_and_stores(void)
{
    int fd = must_open("64m", O_RDONLY);
    const char *map = must_map(fd, 64 * MIB, PROT_READ);
    mark("mapped-loads");
    for (size_t at = 0; at < 64 * MIB; at += 256 * KIB)
        require_filled(map + at, 64, 90, at, "the host's file");
    mark("stores");
    fd = must_open("stored", O_RDWR);
    char *stored = must_map(fd, 4 * RANGE, PROT_READ | PROT_WRITE);
    for (size_t at = 0; at < 4 * RANGE; at += 64 * KIB)
        fill(stored + at, 512, 91, at);
    mark("fsync");
    require(fsync(fd) == 0, "fsync: %m");
    mark("end-of-fsync");
    publish("stored");
}

static void read_only_share(void)
{
    int fd = must_open("from-host", O_RDONLY);
    const char *map = must_map(fd, 4096, PROT_READ);
    char buffer[4096];
    must_pread(fd, buffer, sizeof buffer, 0);
    require(memcmp(map, buffer, sizeof buffer) == 0, "mapping and read differ");
    require(open("from-host", O_RDWR) < 0 && errno == EROFS, "open for writing: %m");
    require(open("new", O_RDWR | O_CREAT, 0644) < 0 && errno == EROFS, "a new file: %m");
    require(unlink("from-host") < 0 && errno == EROFS, "unlink: %m");
    require(mkdir("new", 0755) < 0 && errno == EROFS, "mkdir: %m");
    require(rename("from-host", "new") < 0 && errno == EROFS, "rename: %m");
    require(chmod("from-host", 0600) < 0 && errno == EROFS, "chmod: %m");
    require(truncate("from-host", 0) < 0 && errno == EROFS, "truncate: %m");
    require(symlink("x", "new") < 0 && errno == EROFS, "symlink: %m");
    publish("from-host");
}

/* What /proc/mounts says of the working folder: device, type and options. */
static void find_mount(const char *folder, char device[256], char options[1024])
{
    char line[4096], target[1024], type[64];
    FILE *mounts = fopen("/proc/mounts", "r");
    require(mounts != NULL, "/proc/mounts: %m");
    bool found = false;
    while (!found && fgets(line, sizeof line, mounts))
        found = sscanf(line, "%255s %1023s %63s %1023s", device, target, type, options) == 4 &&
                strcmp(target, folder) == 0 && strcmp(type, "virtiofs") == 0;
    fclose(mounts);
    if (!found)
        skip("the working folder is not the root of a virtiofs mount");
}

static void mount_has_dax(void)
{
    char folder[1024], device[256], options[1024];
    require(getcwd(folder, sizeof folder) != NULL, "getcwd: %m");
    find_mount(folder, device, options);
    require(strstr(options, "dax") != NULL, "the mount options are %s", options);
    tell("mount %s %s", device, options);
}

static void mount_again(void)
{
    char folder[1024], device[256], options[1024], hex[65];
    require(getcwd(folder, sizeof folder) != NULL, "getcwd: %m");
    find_mount(folder, device, options);
    int fd = new_file("before-umount", 3 * RANGE, 92);
    char *map = must_map(fd, 3 * RANGE, PROT_READ | PROT_WRITE);
    fill(map + RANGE, 1000, 93, 0);
    munmap(map, 3 * RANGE);
    close(fd);
    require(chdir("/") == 0 && umount(folder) == 0, "umount %s: %m", folder);
    for (int round = 0; round < 3; round++) {
        require(mount(device, folder, "virtiofs", 0, strstr(options, "dax") ? "dax" : "") == 0, "mount: %m");
        require(chdir(folder) == 0, "chdir: %m");
        fd = must_open("before-umount", O_RDWR);
        map = must_map(fd, 3 * RANGE, PROT_READ | PROT_WRITE);
        require_filled(map + RANGE, 1000, 93, 0, "what was stored before");
        require_filled(map, RANGE, 92, 0, "what was written before");
        fill(map + 2 * RANGE, 1000, 94 + (uint64_t)round, 0);
        munmap(map, 3 * RANGE);
        sha256_of(fd, hex);
        close(fd);
        require(round == 2 || (chdir("/") == 0 && umount(folder) == 0), "umount again: %m");
    }
    publish("before-umount");
}

/* Asks the driver on the host's side for something, and waits until it is done. */
static void ask_host(const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "ask-%s", what);
    close(must_open(name, O_RDWR | O_CREAT));
    for (int tries = 0; access(name, F_OK) == 0; tries++) { /* the driver removes the file */
        require(tries < 600, "the driver did not answer to %s", name);
        usleep(50000);
    }
}

/* The machine can say "no memory here" as a bus error or as a protection fault; both end the program at the
 * place. */
static bool is_fault(int status)
{
    return WIFSIGNALED(status) && (WTERMSIG(status) == SIGBUS || WTERMSIG(status) == SIGSEGV);
}

/* Touches one byte in a process of its own and says how that ended. */
static int touch_in_child(char *at, bool store)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGBUS, SIG_DFL);
        if (store)
            *(volatile char *)at = 1;
        else
            (void)*(const volatile char *)at;
        _exit(0);
    }
    require(child > 0 && waitpid(child, &status, 0) == child, "fork: %m");
    return status;
}

static void host_truncates_a_mapped_file(void)
{
    char buffer[4096];
    int fd = must_open("victim", O_RDWR);
    char *map = must_map(fd, 2 * RANGE, PROT_READ | PROT_WRITE);
    require_filled(map, 2 * RANGE, 95, 0, "before");
    *(volatile char *)(map + RANGE + 8192) = map[RANGE + 8192];
    ask_host("truncate-victim");
    int load = touch_in_child(map + RANGE + 4096, false), store = touch_in_child(map + RANGE + 8192, true);
    tell("load ended with %#x, store with %#x", load, store);
    require(is_fault(load), "a load behind the host's end must raise a signal");
    require(is_fault(store), "a store behind the host's end must raise a signal");
    require_filled(map, 4096, 95, 0, "what the host left");
    ssize_t n = pread(fd, buffer, sizeof buffer, (off_t)RANGE + 12288);
    require(n <= 0, "a read behind the host's end gave %zd bytes", n);
    tell("read ended with %zd, %s", n, n < 0 ? strerror(errno) : "no error");
    int other = new_file("life-goes-on", 3 * RANGE, 96); /* the machine and the share still work */
    char *second = must_map(other, 3 * RANGE, PROT_READ | PROT_WRITE);
    fill(second, 1000, 97, 0);
    publish("life-goes-on");
}

const struct check share_checks[] = {
    {"dax", "the share is mounted with dax", mount_has_dax},
    {"counted", "sequential reads of 64 MiB", sequential_reads},
    {"counted", "loads and stores through mappings", mapped_loads_and_stores},
    {"read-only", "a read-only share", read_only_share},
    {"remount", "unmount and mount again", mount_again},
    {"host-truncate", "the host truncates a mapped file", host_truncates_a_mapped_file},
    {0},
};
