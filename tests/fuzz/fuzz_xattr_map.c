/* Bytes as the rules of an attribute map, a NUL, and names that go through it, each with its NUL. */
#include <oriel/xattr_map.h>

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
    if (!ok)
        abort();
}

static void to_host(const struct oriel_xattr_map *map, const char *name)
{
    char host[ORIEL_XATTR_NAME_SIZE];
    int rc = oriel_xattr_map_to_host(map, name, host);
    must(rc == 0 || rc == -EPERM || rc == -EOPNOTSUPP || rc == -ENAMETOOLONG);
    if (rc == 0)
        must(strnlen(host, sizeof(host)) < sizeof(host) && strlen(host) >= strlen(name));
}

/* What is listed leads the guest to that very attribute. */
static void to_guest(const struct oriel_xattr_map *map, const char *name)
{
    const char *guest;
    char host[ORIEL_XATTR_NAME_SIZE];
    int rc = oriel_xattr_map_to_guest(map, name, &guest);
    must(rc == 0 || rc == -ENODATA);
    if (rc != 0)
        return;
    must(guest >= name && guest < name + strlen(name));
    must(oriel_xattr_map_to_host(map, guest, host) == 0 && strcmp(host, name) == 0);
    must(oriel_xattr_map_keeps(map, name) == (guest == name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct oriel_xattr_map *map = NULL;
    char why[100], *text = malloc(size + 1);
    must(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    int rc = oriel_xattr_map_create(text, &map, why, sizeof(why));
    must(rc == 0 || rc == -EINVAL);
    if (rc != 0)
        must(map == NULL && strnlen(why, sizeof(why)) < sizeof(why) && why[0] != '\0' &&
             strchr(why, '\n') == NULL);
    for (size_t at = strlen(text) + 1; rc == 0 && at <= size; at += strlen(text + at) + 1) {
        to_host(map, text + at);
        to_guest(map, text + at);
    }
    oriel_xattr_map_destroy(map);
    free(text);
    return 0;
}
