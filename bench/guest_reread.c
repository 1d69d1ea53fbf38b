/* Runs in the guest of bench_guest_read.py: reads a file from start to end, so many times, through one descriptor. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNK (1 << 20)

static int read_whole(int fd, char *buffer)
{
    ssize_t got;
    for (off_t at = 0; (got = pread(fd, buffer, CHUNK, at)) != 0; at += got) {
        if (got < 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static char buffer[CHUNK];
    if (argc != 3)
        return 2;
    int fd = open(argv[1], O_RDONLY);
    for (long left = strtol(argv[2], NULL, 10); left > 0; left--) {
        if (fd < 0 || read_whole(fd, buffer) != 0) {
            perror(argv[1]);
            return 1;
        }
    }
    return 0;
}
