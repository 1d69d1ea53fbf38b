/* What the checks of the guest suite share: see suite.h. */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void require(bool good, const char *format, ...)
{
    if (good)
        return;
    int saved = errno; /* for %m */
    va_list arguments;
    va_start(arguments, format);
    fputs("# ", stdout);
    errno = saved;
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
    _exit(1);
}

void skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("# skip: ", stdout);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
    _exit(77);
}

void tell(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("# ", stdout);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

void publish(const char *name)
{
    char hex[65];
    int fd = must_open(name, O_RDONLY);
    sha256_of(fd, hex);
    close(fd);
    tell("sha256 %s %s", hex, name);
}

void mark(const char *step)
{
    struct stat st;
    char name[256];
    snprintf(name, sizeof name, "@%s", step);
    require(stat(name, &st) != 0 && errno == ENOENT, "the mark %s: %m", name);
}

static uint64_t word_at(uint64_t seed, uint64_t index)
{
    uint64_t x = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ index * UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 29;
}

void fill(void *to, size_t len, uint64_t seed, uint64_t offset)
{
    unsigned char *at = to;
    while (len > 0) {
        uint64_t word = word_at(seed, offset / 8);
        size_t skip_bytes = offset % 8, n = 8 - skip_bytes < len ? 8 - skip_bytes : len;
        memcpy(at, (const char *)&word + skip_bytes, n);
        at += n;
        offset += n;
        len -= n;
    }
}

void require_filled(const void *data, size_t len, uint64_t seed, uint64_t offset, const char *what)
{
    const unsigned char *at = data;
    while (len > 0) {
        uint64_t word = word_at(seed, offset / 8);
        size_t skip_bytes = offset % 8, n = 8 - skip_bytes < len ? 8 - skip_bytes : len;
        if (memcmp(at, (const char *)&word + skip_bytes, n) != 0)
            require(false,
                    "%s: wrong data in the %zu bytes at offset %llu: %02x %02x..., wanted %02x %02x...", what,
                    n, (unsigned long long)offset, at[0], at[n - 1], ((unsigned char *)&word)[skip_bytes],
                    ((unsigned char *)&word)[skip_bytes + n - 1]);
        at += n;
        offset += n;
        len -= n;
    }
}

int must_open(const char *name, int flags)
{
    int fd = open(name, flags | O_CLOEXEC, 0644);
    require(fd >= 0, "open %s: %m", name);
    return fd;
}

void must_pread(int fd, void *to, size_t len, off_t offset)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, (char *)to + done, len - done, offset + (off_t)done);
        require(n > 0, "pread of %zu at %lld returns %zd: %m", len - done,
                (long long)offset + (long long)done, n);
        done += (size_t)n;
    }
}

void must_pwrite(int fd, const void *from, size_t len, off_t offset)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, (const char *)from + done, len - done, offset + (off_t)done);
        require(n > 0, "pwrite of %zu at %lld returns %zd: %m", len - done,
                (long long)offset + (long long)done, n);
        done += (size_t)n;
    }
}

void must_truncate(int fd, size_t len)
{
    require(ftruncate(fd, (off_t)len) == 0, "ftruncate to %zu: %m", len);
    require(must_size(fd) == (off_t)len, "the size after ftruncate to %zu is %lld", len,
            (long long)must_size(fd));
}

char *must_map(int fd, size_t len, int prot)
{
    char *map = mmap(NULL, len, prot, MAP_SHARED, fd, 0);
    require(map != MAP_FAILED, "mmap of %zu bytes: %m", len);
    return map;
}

off_t must_size(int fd)
{
    struct stat st;
    require(fstat(fd, &st) == 0, "fstat: %m");
    return st.st_size;
}

int new_file(const char *name, size_t len, uint64_t seed)
{
    int fd = must_open(name, O_RDWR | O_CREAT | O_TRUNC);
    char *buffer = malloc(MIB);
    require(buffer != NULL, "no memory");
    for (size_t at = 0; at < len; at += MIB) {
        size_t n = len - at < MIB ? len - at : MIB;
        fill(buffer, n, seed, at);
        must_pwrite(fd, buffer, n, (off_t)at);
    }
    free(buffer);
    return fd;
}

static sigjmp_buf bus_return;

static void on_bus_error(int signal_number)
{
    siglongjmp(bus_return, signal_number);
}

static bool survives(const volatile char *at, volatile char *store)
{
    struct sigaction action = {.sa_handler = on_bus_error}, before;
    sigaction(SIGBUS, &action, &before);
    bool good = sigsetjmp(bus_return, 1) == 0;
    if (good) {
        if (store)
            *store = 1;
        else
            (void)*at;
    }
    sigaction(SIGBUS, &before, NULL);
    return good;
}

bool can_read(const volatile char *at)
{
    return survives(at, NULL);
}

bool can_write(volatile char *at)
{
    return survives(at, at);
}
