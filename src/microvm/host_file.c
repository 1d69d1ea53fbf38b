#include "microvm/host_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"

#define SIZE_MAX_READ (64 << 20)

static int read_all(int fd, char *to, size_t len)
{
    while (len > 0) {
        ssize_t n = read(fd, to, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        to += n;
        len -= (size_t)n;
    }
    return 0;
}

int host_file_read(const char *path, char **bytes, size_t *len)
{
    struct stat st;
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size > SIZE_MAX_READ)
        return -EFBIG;
    cleanup_free char *text = malloc((size_t)st.st_size + 1);
    if (text == NULL)
        return -ENOMEM;
    int err = read_all(fd, text, (size_t)st.st_size);
    if (err != 0)
        return err;
    text[st.st_size] = '\0';
    if (len != NULL)
        *len = (size_t)st.st_size;
    *bytes = take_ptr(&text);
    return 0;
}

int host_file_with_suffix(char **path)
{
    static const char *const suffixes[] = {"", ".xz", ".zst", ".gz"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char *candidate;
        if (asprintf(&candidate, "%s%s", *path, suffixes[i]) < 0)
            return -ENOMEM;
        if (access(candidate, R_OK) == 0) {
            free(*path);
            *path = candidate;
            return 0;
        }
        free(candidate);
    }
    return -ENOENT;
}
