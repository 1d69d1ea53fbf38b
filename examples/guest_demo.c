/*
 * What `make run` runs in the guest beside the shell's own tools: stores a line into a shared file through a mapping.
 * Static, because the guest has no libraries.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: guest_demo FILE OFFSET TEXT\n");
        return 2;
    }
    struct stat st;
    size_t offset = strtoul(argv[2], NULL, 0), len = strlen(argv[3]);
    int fd = open(argv[1], O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        perror(argv[1]);
        return 1;
    }
    if (offset > (size_t)st.st_size || len > (size_t)st.st_size - offset) {
        fprintf(stderr, "guest_demo: %s is too short\n", argv[1]);
        return 1;
    }
    char *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    memcpy(map + offset, argv[3], len);
    return 0;
}
