/* Reading, writing and resizing files by system calls. */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* The host wrote `name` and its hash into the file EXPECT: lines of "HASH NAME". */
static void require_as_host_made(const char *name, const char *hex)
{
    char line[512], wanted[65] = "", other[256];
    FILE *expect = fopen("EXPECT", "r");
    require(expect != NULL, "EXPECT: %m");
    while (fgets(line, sizeof line, expect))
        if (sscanf(line, "%64s %255s", wanted, other) == 2 && strcmp(other, name) == 0)
            break;
    fclose(expect);
    require(strcmp(other, name) == 0, "the host gave no hash of %s", name);
    require(strcmp(hex, wanted) == 0, "%s hashes to %s here, to %s on the host", name, hex, wanted);
}

static void read_what_the_host_wrote(void)
{
    char hex[65];
    int fd = must_open("from-host", O_RDONLY);
    sha256_of(fd, hex);
    require_as_host_made("from-host", hex);
}

static void read_past_the_end(void)
{
    char buffer[100];
    int fd = must_open("from-host", O_RDONLY);
    off_t size = must_size(fd);
    require(pread(fd, buffer, 100, size - 10) == 10, "a read over the end must give the 10 bytes before it");
    require(pread(fd, buffer, 100, size) == 0, "a read at the end must give nothing");
    require(pread(fd, buffer, 100, size + (off_t)RANGE) == 0, "a read far behind the end must give nothing");
}

static void write_in_odd_pieces(void)
{
    static char buffer[70001];
    const size_t len = MIB + 77;
    int fd = must_open("written", O_RDWR | O_CREAT | O_TRUNC);
    for (size_t at = 0, n = 1; at < len; at += n, n = n * 3 % 70001) {
        n = n < len - at ? n : len - at;
        fill(buffer, n, 1, at);
        must_pwrite(fd, buffer, n, (off_t)at);
    }
    require(must_size(fd) == (off_t)len, "the size is %lld", (long long)must_size(fd));
    char *all = malloc(len);
    must_pread(fd, all, len, 0);
    require_filled(all, len, 1, 0, "read back");
    publish("written");
}

static void overwrite_in_place(void)
{
    const size_t len = 5 * MIB;
    char *buffer = malloc(len);
    int fd = new_file("overwritten", len, 2);
    fill(buffer, 3 * MIB, 3, MIB - 5);
    must_pwrite(fd, buffer, 3 * MIB, (off_t)MIB - 5); /* over two range borders, unaligned */
    must_pread(fd, buffer, len, 0);
    require_filled(buffer, MIB - 5, 2, 0, "before the new part");
    require_filled(buffer + MIB - 5, 3 * MIB, 3, MIB - 5, "the new part");
    require_filled(buffer + 4 * MIB - 5, MIB + 5, 2, 4 * MIB - 5, "behind the new part");
    publish("overwritten");
}

static void write_over_the_end(void)
{
    char *buffer = malloc(3 * MIB);
    int fd = new_file("grown", MIB + 1, 4);
    fill(buffer, 3 * MIB, 5, MIB - 100);
    must_pwrite(fd, buffer, 3 * MIB, (off_t)MIB - 100); /* in place at first, then extending */
    must_pread(fd, buffer, 3 * MIB, (off_t)MIB - 100);
    require_filled(buffer, 3 * MIB, 5, MIB - 100, "the new part");
    publish("grown");
}

static void append_and_read(void)
{
    static char buffer[5000];
    int fd = must_open("appended", O_RDWR | O_CREAT | O_TRUNC | O_APPEND);
    char *map = must_map(fd, 4 * RANGE, PROT_READ);
    size_t len = 0;
    for (int i = 0; i < 600; i++) {
        size_t n = 1 + (size_t)i * 37 % 5000;
        fill(buffer, n, 6, len);
        require(write(fd, buffer, n) == (ssize_t)n, "append: %m");
        if (i % 20 == 0) /* the mapping was made when the file was empty and must see every new byte */
            require_filled(map + len, n, 6, len, "appended, seen through a mapping");
        len += n;
    }
    require(must_size(fd) == (off_t)len, "the size is %lld, not %zu", (long long)must_size(fd), len);
    require_filled(map, len, 6, 0, "the whole, seen through a mapping");
    publish("appended");
}

static void direct_io(void)
{
    char *buffer = aligned_alloc(4096, 64 * KIB);
    int fd = new_file("direct", 4 * MIB, 7);
    close(fd);
    fd = must_open("direct", O_RDWR | O_DIRECT);
    must_pread(fd, buffer, 64 * KIB, (off_t)RANGE - 32 * (off_t)KIB);
    require_filled(buffer, 64 * KIB, 7, RANGE - 32 * KIB, "read with O_DIRECT");
    fill(buffer, 64 * KIB, 8, 0);
    must_pwrite(fd, buffer, 64 * KIB, 0);
    must_pwrite(fd, buffer, 64 * KIB, 4 * (off_t)MIB); /* extends */
    publish("direct");
}

static void vectored_io(void)
{
    char *whole = malloc(3 * MIB);
    int fd = new_file("vectored", 3 * MIB, 9);
    struct iovec parts[200];
    size_t at = 0;
    for (int i = 0; i < 200; i++) {
        parts[i].iov_base = whole + at;
        parts[i].iov_len = 1 + (size_t)i * 79 % 15000;
        at += parts[i].iov_len;
    }
    for (size_t done = 0; done < at;) { /* a short count is allowed; start again behind it with plain reads */
        ssize_t n = done == 0 ? preadv(fd, parts, 200, 0) : pread(fd, whole + done, at - done, (off_t)done);
        require(n > 0, "preadv: %m");
        done += (size_t)n;
    }
    require_filled(whole, at, 9, 0, "read in parts");
}

static void sparse_files(void)
{
    char buffer[4096], zero[4096] = "";
    int fd = must_open("sparse", O_RDWR | O_CREAT | O_TRUNC);
    fill(buffer, sizeof buffer, 10, 0);
    must_pwrite(fd, buffer, sizeof buffer, 3 * (off_t)RANGE);
    must_pread(fd, buffer, sizeof buffer, (off_t)RANGE);
    require(memcmp(buffer, zero, sizeof zero) == 0, "a hole must read as zeroes");
    off_t data = lseek(fd, 0, SEEK_DATA);
    require(data > 0 && data <= 3 * (off_t)RANGE, "SEEK_DATA says %lld", (long long)data);
    require(lseek(fd, 0, SEEK_HOLE) == 0, "SEEK_HOLE must say 0");
    require(lseek(fd, 4 * (off_t)RANGE, SEEK_DATA) < 0 && errno == ENXIO, "SEEK_DATA behind the end: %m");
    publish("sparse");
}

static void allocate(void)
{
    int fd = new_file("allocated", 100, 11);
    require(fallocate(fd, 0, 0, (off_t)MIB) == 0, "fallocate: %m");
    require(must_size(fd) == (off_t)MIB, "fallocate must grow the file, the size is %lld",
            (long long)must_size(fd));
    require(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 4 * (off_t)MIB) == 0, "fallocate with KEEP_SIZE: %m");
    require(must_size(fd) == (off_t)MIB, "KEEP_SIZE must not grow the file");
    publish("allocated");
}

static void reopen_with_truncation(void)
{
    char byte;
    int fd = new_file("reopened", 3 * MIB, 12);
    char *map = must_map(fd, 3 * MIB, PROT_READ | PROT_WRITE);
    map[2 * MIB] = 1;
    int second = must_open("reopened", O_RDWR | O_TRUNC);
    require(must_size(fd) == 0, "O_TRUNC must empty the file");
    require(!can_read(map), "a mapping of an emptied file must raise SIGBUS");
    fill(&byte, 1, 13, 0);
    must_pwrite(second, &byte, 1, 0);
    require(map[0] == byte && map[1] == 0, "the mapping must show the new content");
    publish("reopened");
}

static void sync_files(void)
{
    int fd = new_file("synced", MIB, 14);
    char *map = must_map(fd, MIB, PROT_READ | PROT_WRITE);
    fill(map, MIB, 15, 0);
    require(msync(map, MIB, MS_SYNC) == 0, "msync: %m");
    require(fsync(fd) == 0, "fsync: %m");
    require(fdatasync(fd) == 0, "fdatasync: %m");
    publish("synced");
}

static void execute_from_the_share(void)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        execl("./guest_suite", "guest_suite", "--forty-two", (char *)NULL);
        _exit(1);
    }
    require(child > 0 && waitpid(child, &status, 0) == child, "fork: %m");
    require(WIFEXITED(status) && WEXITSTATUS(status) == 42, "./guest_suite --forty-two ended with status %#x",
            status);
}

const struct check file_checks[] = {
    {"files", "read what the host wrote", read_what_the_host_wrote},
    {"files", "read at and past the end", read_past_the_end},
    {"files", "write in odd pieces", write_in_odd_pieces},
    {"files", "overwrite in place", overwrite_in_place},
    {"files", "write over the end", write_over_the_end},
    {"files", "append, seen through a mapping", append_and_read},
    {"files", "O_DIRECT", direct_io},
    {"files", "vectored read", vectored_io},
    {"files", "sparse file, SEEK_HOLE and SEEK_DATA", sparse_files},
    {"files", "fallocate", allocate},
    {"files", "open with O_TRUNC while mapped", reopen_with_truncation},
    {"files", "fsync after stores", sync_files},
    {"files", "execute a program from the share", execute_from_the_share},
    {0},
};
