#include "cli/share_spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <oriel/virtio_fs.h>

#include "base/checked.h"
#include "cli/args.h"

_Static_assert(sizeof(((struct share_spec *)0)->tag) == ORIEL_VIRTIO_FS_TAG_MAX + 1, "room for a tag");

static int check_tag(const char *tag, size_t len, struct vm_error *error)
{
    if (len == 0)
        return vm_fail(error, -EINVAL, "a share needs a tag: write it as DIR:TAG");
    if (len > ORIEL_VIRTIO_FS_TAG_MAX)
        return vm_fail(error, -EINVAL, "the tag '%.*s' is %zu bytes long; at most %d are possible",
                       (int)min_u64(len, 60), tag, len, ORIEL_VIRTIO_FS_TAG_MAX);
    if (memchr(tag, '\n', len) != NULL)
        return vm_fail(error, -EINVAL, "a tag must not have a newline in it");
    if (memchr(tag, '/', len) != NULL || (len == 1 && tag[0] == '.') ||
        (len == 2 && memcmp(tag, "..", 2) == 0))
        return vm_fail(error, -EINVAL,
                       "the tag '%.*s' names the mount point /mnt/TAG: choose one that is a file name",
                       (int)len, tag);
    return 0;
}

static int take_window(const char *text, struct share_spec *spec, struct vm_error *error)
{
    uint64_t len;
    if (!parse_size(text, 1, &len))
        return vm_fail(error, -EINVAL, "dax=%s is no size: write it like dax=1G, or dax=0 for none", text);
    if (len != 0 && (len < SHARE_DAX_MIN || !is_power_of_two(len)))
        return vm_fail(error, -EINVAL,
                       "dax=%s: a window must be a power of two of at least 32M (or 0 for none)", text);
    spec->window_len = len;
    return 0;
}

static int take_option(const char *option, struct share_spec *spec, struct vm_error *error)
{
    if (strncmp(option, "dax=", 4) == 0)
        return take_window(option + 4, spec, error);
    if (strcmp(option, "ro") == 0) {
        spec->read_only = true;
        return 0;
    }
    return vm_fail(error, -EINVAL, "a share has no option '%s': there are dax=SIZE and ro", option);
}

static int take_options(char *options, struct share_spec *spec, struct vm_error *error)
{
    int err = 0;
    while (err == 0 && options != NULL) {
        char *option = strsep(&options, ",");
        err = take_option(option, spec, error);
    }
    return err;
}

static int check_folder(const char *dir, struct vm_error *error)
{
    struct stat st;
    if (dir[0] == '\0')
        return vm_fail(error, -EINVAL, "a share needs a folder: write it as DIR:TAG");
    if (stat(dir, &st) != 0) {
        int err = -errno;
        return vm_fail(error, err, "cannot share the folder '%s': %s; create it or name another", dir,
                       strerror(-err));
    }
    if (!S_ISDIR(st.st_mode))
        return vm_fail(error, -ENOTDIR, "cannot share '%s': it is not a folder; name one", dir);
    return 0;
}

/* dir is text up to the last colon, so a folder's name may have colons and commas. */
static int take_parts(char *text, struct share_spec *spec, struct vm_error *error)
{
    char *colon = strrchr(text, ':');
    if (colon == NULL)
        return vm_fail(error, -EINVAL, "the share '%s' has no tag: write it as DIR:TAG", text);
    *colon = '\0';
    char *options = colon + 1;
    char *tag = strsep(&options, ",");
    size_t len = strlen(tag);
    int err = check_tag(tag, len, error);
    if (err == 0) {
        memcpy(spec->tag, tag, len + 1);
        snprintf(spec->mount, sizeof(spec->mount), "/mnt/%s", tag);
        err = take_options(options, spec, error);
    }
    return err != 0 ? err : check_folder(text, error);
}

int share_spec_parse(const char *text, struct share_spec *spec, struct vm_error *error)
{
    *spec = (struct share_spec){.window_len = SHARE_DAX_DEFAULT};
    spec->dir = strdup(text);
    if (spec->dir == NULL)
        return vm_fail(error, -ENOMEM, "out of memory");
    int err = take_parts(spec->dir, spec, error);
    if (err != 0)
        share_spec_destroy(spec);
    return err;
}

void share_spec_destroy(struct share_spec *spec)
{
    free(spec->dir);
    spec->dir = NULL;
}
