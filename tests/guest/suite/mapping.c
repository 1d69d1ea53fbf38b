/* Shared mappings: what stores and loads see, while files change size and mappings are upgraded under them.
 */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void mapped_read(void)
{
    static char piece[300];
    int fd = must_open("from-host", O_RDONLY);
    size_t len = (size_t)must_size(fd);
    char *map = must_map(fd, len, PROT_READ);
    for (size_t i = 0, at = 0; i < 2000; i++, at = (at + 7919 * i) % (len - sizeof piece)) {
        must_pread(fd, piece, sizeof piece, (off_t)at);
        require(memcmp(map + at, piece, sizeof piece) == 0, "read and mapping differ at %zu", at);
    }
    int copy = must_open("copy-of-from-host", O_RDWR | O_CREAT | O_TRUNC);
    char *buffer =
        malloc(len); /* through memory of our own: buffers in the window are a check of their own */
    memcpy(buffer, map, len);
    must_pwrite(copy, buffer, len, 0);
    publish("copy-of-from-host");
}

static void mapped_write(void)
{
    const size_t len = 5 * MIB + 123;
    char *buffer = malloc(len);
    int fd = new_file("mapped-write", len, 20);
    char *map = must_map(fd, len, PROT_READ | PROT_WRITE);
    fill(map + MIB + 1, 3 * MIB, 21, MIB + 1);
    must_pread(fd, buffer, len, 0);
    require_filled(buffer, MIB + 1, 20, 0, "before the stores");
    require_filled(buffer + MIB + 1, 3 * MIB, 21, MIB + 1, "the stores");
    require_filled(buffer + 4 * MIB + 1, len - 4 * MIB - 1, 20, 4 * MIB + 1, "behind the stores");
    publish("mapped-write");
}

static void stores_into_holes(void)
{
    int fd = must_open("holes", O_RDWR | O_CREAT | O_TRUNC);
    must_truncate(fd, 4 * RANGE);
    char *map = must_map(fd, 4 * RANGE, PROT_READ | PROT_WRITE);
    for (size_t at = 0; at < 4 * RANGE; at += 256 * KIB)
        fill(map + at + 11, 1000, 22, at);
    publish("holes");
}

static void private_stores_stay_private(void)
{
    char buffer[4096];
    int fd = new_file("private", MIB, 23);
    char *map = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    require(map != MAP_FAILED, "mmap: %m");
    memset(map, 0, MIB / 2);
    must_pread(fd, buffer, sizeof buffer, 0);
    require_filled(buffer, sizeof buffer, 23, 0, "the file");
    require_filled(map + MIB / 2, MIB / 2, 23, MIB / 2, "the untouched half of the mapping");
    publish("private");
}

static void truncate_down_while_mapped(void)
{
    const size_t len = 5 * MIB, left = MIB + 100;
    int fd = new_file("cut", len, 24);
    char *map = must_map(fd, len, PROT_READ | PROT_WRITE);
    for (size_t at = 0; at < len; at += 64 * KIB)
        *(volatile char *)(map + at) = map[at]; /* every page table entry is there */
    must_truncate(fd, left);
    require_filled(map, left, 24, 0, "what is left");
    for (size_t at = left; at < MIB + 4096; at++)
        require(map[at] == 0, "the rest of the last page must read as zeroes");
    require(!can_read(map + MIB + 4096), "a page behind the end must raise SIGBUS");
    require(!can_write(map + 3 * MIB), "a page in a range behind the end must raise SIGBUS");
    publish("cut");
}

static void truncate_up_while_mapped(void)
{
    int fd = new_file("stretched", 1000, 25);
    char *map = must_map(fd, 3 * RANGE, PROT_READ | PROT_WRITE);
    require_filled(map, 1000, 25, 0, "the start");
    require(!can_read(map + RANGE), "a page behind the end must raise SIGBUS");
    must_truncate(fd, 3 * RANGE);
    require(map[1000] == 0 && map[RANGE] == 0 && map[3 * RANGE - 1] == 0, "what is new must read as zeroes");
    fill(map + RANGE - 100, 200, 26, 0);
    must_truncate(fd, 100);
    must_truncate(fd, 2 * RANGE);
    require(map[100] == 0 && map[RANGE - 100] == 0, "what was cut off must not come back");
    fill(map + RANGE, RANGE, 27, 0);
    publish("stretched");
}

static void punch_a_hole_while_mapped(void)
{
    const size_t len = 3 * RANGE;
    int fd = new_file("punched", len, 28);
    char *map = must_map(fd, len, PROT_READ | PROT_WRITE);
    require_filled(map, len, 28, 0, "before");
    require(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)RANGE / 2, (off_t)RANGE) == 0,
            "fallocate: %m");
    require_filled(map, RANGE / 2, 28, 0, "before the hole");
    for (size_t at = RANGE / 2; at < RANGE / 2 + RANGE; at += 8)
        require(*(uint64_t *)(void *)(map + at) == 0, "the hole must read as zeroes at %zu", at);
    require_filled(map + RANGE / 2 + RANGE, len - RANGE / 2 - RANGE, 28, RANGE / 2 + RANGE,
                   "behind the hole");
    fill(map + RANGE, 5000, 29, 0);
    publish("punched");
}

/* --- the upgrade of a mapping from read to write --- */

#define READERS 3
static struct {
    const char *map;
    size_t len;
    atomic_bool stop;
    atomic_size_t rounds;
} reading;

/* Loads from the second half of every range, which nobody changes, until told to stop. */
static void *keep_reading(void *unused)
{
    (void)unused;
    while (!atomic_load(&reading.stop)) {
        for (size_t range = 0; range < reading.len; range += RANGE)
            for (size_t at = range + MIB; at < range + RANGE; at += 128 * KIB)
                require_filled(reading.map + at, 64, 30, at, "what other threads read during the upgrade");
        atomic_fetch_add(&reading.rounds, 1);
    }
    return NULL;
}

static void upgrade_while_others_read(void)
{
    const size_t len = 8 * RANGE;
    pthread_t threads[READERS];
    close(new_file("upgraded", len, 30));
    int reader = must_open("upgraded", O_RDONLY), writer = must_open("upgraded", O_RDWR);
    reading.map = must_map(reader, len, PROT_READ);
    reading.len = len;
    for (size_t at = 0; at < len; at += 4096)
        (void)*(const volatile char *)(reading.map + at);
    for (int i = 0; i < READERS; i++)
        require(pthread_create(&threads[i], NULL, keep_reading, NULL) == 0, "pthread_create");
    while (atomic_load(&reading.rounds) < READERS)
        usleep(1000);
    char *map = must_map(writer, len, PROT_READ | PROT_WRITE);
    for (size_t range = 0; range < len; range += RANGE) {
        size_t before = atomic_load(&reading.rounds);
        fill(map + range, MIB / 2, 31, range); /* the first store asks for the upgrade */
        while (atomic_load(&reading.rounds) < before + READERS)
            usleep(1000);
    }
    atomic_store(&reading.stop, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    for (size_t range = 0; range < len; range += RANGE)
        require_filled(reading.map + range, MIB / 2, 31, range, "new data through the old mapping");
    publish("upgraded");
}

static void upgrade_by_write(void)
{
    char buffer[1000];
    int fd = new_file("upgraded-by-write", 2 * RANGE, 32);
    const char *map = must_map(fd, 2 * RANGE, PROT_READ);
    require_filled(map, 2 * RANGE, 32, 0, "before");
    fill(buffer, sizeof buffer, 33, 0);
    must_pwrite(fd, buffer, sizeof buffer, (off_t)RANGE - 500);
    require_filled(map + RANGE - 500, sizeof buffer, 33, 0, "what pwrite changed");
    publish("upgraded-by-write");
}

static struct {
    pthread_barrier_t start;
    char *map;
} race;

static void *store_first(void *unused)
{
    (void)unused;
    for (size_t range = 0; range < 16 * RANGE; range += RANGE) {
        pthread_barrier_wait(&race.start);
        fill(race.map + range + MIB, 100, 35, range);
    }
    return NULL;
}

/* Two threads meet a range that nothing maps yet, one to load, one to store: the guest asks for one mapping
 * only. */
static void first_load_races_first_store(void)
{
    pthread_t thread;
    close(new_file("raced", 16 * RANGE, 34));
    int fd = must_open("raced", O_RDWR);
    race.map = must_map(fd, 16 * RANGE, PROT_READ | PROT_WRITE);
    pthread_barrier_init(&race.start, NULL, 2);
    require(pthread_create(&thread, NULL, store_first, NULL) == 0, "pthread_create");
    for (size_t range = 0; range < 16 * RANGE; range += RANGE) {
        pthread_barrier_wait(&race.start);
        require_filled(race.map + range, 100, 34, range, "what the loading thread sees");
    }
    pthread_join(thread, NULL);
    for (size_t range = 0; range < 16 * RANGE; range += RANGE)
        require_filled(race.map + range + MIB, 100, 35, range, "what the storing thread stored");
    publish("raced");
}

/* --- the window as a buffer of system calls --- */

static void write_from_a_mapping(void)
{
    const size_t len = 5 * MIB;
    int source = new_file("buffer-source", len, 36);
    const char *map = must_map(source, len, PROT_READ);
    int fd = must_open("written-from-mapping", O_RDWR | O_CREAT | O_TRUNC);
    must_pwrite(fd, map, len, 0); /* extends: the device gets buffers that lie in the window */
    must_pwrite(fd, map + 1, 1000, (off_t)len);
    char *second = must_map(fd, len, PROT_READ | PROT_WRITE);
    require_filled(second, len, 36, 0, "the copy");
    must_pread(source, second, MIB, (off_t)MIB); /* from one mapped file into the mapping of another */
    require_filled(second, MIB, 36, MIB, "what was read into the mapping");
    publish("written-from-mapping");
}

static void write_from_an_unlinked_mapping(void)
{
    int source = new_file("buffer-gone", MIB, 37);
    const char *map = must_map(source, MIB, PROT_READ);
    require(unlink("buffer-gone") == 0, "unlink: %m");
    close(source);
    int fd = must_open("written-from-gone", O_RDWR | O_CREAT | O_TRUNC);
    must_pwrite(fd, map, MIB, 0);
    publish("written-from-gone");
}

const struct check mapping_checks[] = {
    {"mapping", "read through a mapping", mapped_read},
    {"mapping", "write through a mapping", mapped_write},
    {"mapping", "stores into holes", stores_into_holes},
    {"mapping", "private stores stay private", private_stores_stay_private},
    {"mapping", "truncate down while mapped", truncate_down_while_mapped},
    {"mapping", "truncate up while mapped", truncate_up_while_mapped},
    {"mapping", "punch a hole while mapped", punch_a_hole_while_mapped},
    {"mapping", "upgrade to write while other threads read", upgrade_while_others_read},
    {"mapping", "upgrade by pwrite under a mapping", upgrade_by_write},
    {"mapping", "first load races first store", first_load_races_first_store},
    {"mapping", "write from a mapping to a new file", write_from_a_mapping},
    {"mapping", "write from the mapping of an unlinked file", write_from_an_unlinked_mapping},
    {0},
};
