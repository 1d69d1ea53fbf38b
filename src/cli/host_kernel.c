#include "cli/host_kernel.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"

#define KERNEL_PREFIX "vmlinuz-"

static int is_kernel_name(const struct dirent *entry)
{
    return strncmp(entry->d_name, KERNEL_PREFIX, strlen(KERNEL_PREFIX)) == 0;
}

int newest_kernel(const char *folder, char **path, struct vm_error *error)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_kernel_name, versionsort);
    int err = 0;
    if (n <= 0)
        err = vm_fail(error, -ENOENT,
                      "%s has no vmlinuz-*: install a kernel (apt-get install linux-image-amd64) or name one "
                      "with --kernel",
                      folder);
    else if (asprintf(path, "%s/%s", folder, entries[n - 1]->d_name) < 0)
        err = vm_fail(error, -ENOMEM, "out of memory");
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
    return err;
}

static bool has_modules(const char *folder)
{
    cleanup_free char *list = NULL;
    return asprintf(&list, "%s/modules.order", folder) > 0 && access(list, R_OK) == 0;
}

/* Takes `candidate` over. */
static bool take_if_modules(char *candidate, char **path)
{
    if (!has_modules(candidate)) {
        free(candidate);
        return false;
    }
    *path = candidate;
    return true;
}

int find_modules(const struct kernel_image *kernel, char **path, struct vm_error *error)
{
    const char *slash = strrchr(kernel->path, '/');
    cleanup_free char *folder =
        slash == NULL ? strdup(".") : strndup(kernel->path, (size_t)(slash - kernel->path));
    char *candidate;
    if (folder == NULL || asprintf(&candidate, "%s/modules", folder) < 0)
        return vm_fail(error, -ENOMEM, "out of memory");
    if (take_if_modules(candidate, path))
        return 0;
    if (kernel->version[0] == '\0')
        return vm_fail(error, -ENOENT,
                       "the kernel '%s' does not tell its version: name its modules with --modules",
                       kernel->path);
    const char *const roots[][2] = {
        {folder, "/../lib/modules"}, {folder, "/../usr/lib/modules"}, {"", "/lib/modules"}};
    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        if (asprintf(&candidate, "%s%s/%s", roots[i][0], roots[i][1], kernel->version) < 0)
            return vm_fail(error, -ENOMEM, "out of memory");
        if (take_if_modules(candidate, path))
            return 0;
    }
    return vm_fail(error, -ENOENT, "there are no modules for kernel %s: name their folder with --modules",
                   kernel->version);
}
