/* More data than the window holds, so that the guest takes ranges back all the time. */
#include "suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE (24 * RANGE) /* the driver gives this group a window of 16 ranges */
#define FILES 40

static void larger_than_the_window(void)
{
    char *buffer = malloc(MIB);
    int fd = new_file("large", LARGE, 60);
    char *map = must_map(fd, LARGE, PROT_READ | PROT_WRITE);
    require_filled(map, LARGE, 60, 0, "loads, first time");
    for (size_t at = 0; at < LARGE; at += MIB) {
        must_pread(fd, buffer, MIB, (off_t)at);
        require_filled(buffer, MIB, 60, at, "pread");
    }
    for (size_t at = 0; at < LARGE; at += 4096)
        fill(map + at, 16, 61, at);
    for (size_t at = LARGE; at > 0; at -= 4096) { /* backwards */
        require_filled(map + at - 4096, 16, 61, at - 4096, "stores");
        require_filled(map + at - 4080, 48, 60, at - 4080, "beside the stores");
    }
    publish("large");
}

static void many_mapped_files(void)
{
    char *maps[FILES], name[32];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        int fd = must_open(name, O_RDWR | O_CREAT | O_TRUNC);
        must_truncate(fd, 64 * KIB);
        maps[i] = must_map(fd, 64 * KIB, PROT_READ | PROT_WRITE);
        close(fd);
        fill(maps[i], 64 * KIB, 70 + (uint64_t)i, 0);
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < FILES; i++)
            require_filled(maps[i], 64 * KIB, 70 + (uint64_t)i, 0, "one of many mapped files");
    for (int i = 0; i < FILES; i += 13) {
        snprintf(name, sizeof name, "many-%d", i);
        publish(name);
    }
}

static struct {
    int fd;
    char *map;
} shared;

static void *wander(void *argument)
{
    uint64_t x = (uint64_t)(uintptr_t)argument * UINT64_C(0x9e3779b97f4a7c15) + 1;
    char buffer[64];
    for (int i = 0; i < 400; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        size_t at = x % (LARGE / 4096) * 4096;
        if (i % 3 == 0) {
            must_pread(shared.fd, buffer, sizeof buffer, (off_t)at);
            require_filled(buffer, sizeof buffer, 62, at, "pread of one of many threads");
        } else if (i % 3 == 1) {
            require_filled(shared.map + at, 64, 62, at, "loads of one of many threads");
        } else {
            size_t own = at + 1024 * (size_t)(1 + (uintptr_t)argument % 3);
            fill(shared.map + own, 64, 62, own); /* what is there already: nobody's expectation changes */
        }
    }
    return NULL;
}

static void threads_share_few_ranges(void)
{
    pthread_t threads[4];
    shared.fd = new_file("wandered", LARGE, 62);
    shared.map = must_map(shared.fd, LARGE, PROT_READ | PROT_WRITE);
    for (uintptr_t i = 0; i < 4; i++)
        require(pthread_create(&threads[i], NULL, wander, (void *)(i + 1)) == 0, "pthread_create");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    publish("wandered");
}

const struct check window_checks[] = {
    {"window", "a file larger than the window", larger_than_the_window},
    {"window", "many mapped files", many_mapped_files},
    {"window", "threads share few ranges", threads_share_few_ranges},
    {0},
};
