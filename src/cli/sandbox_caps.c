#include "cli/sandbox.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include <cap-ng.h>

/* What serving a folder takes; what for stands behind each. */
static const unsigned kept[] = {
    CAP_CHOWN,        /* SETATTR of the owner */
    CAP_DAC_OVERRIDE, /* the guest's kernel checks permissions, its root may do all */
    CAP_FOWNER,       /* SETATTR of files of others */
    CAP_FSETID,       /* set-group-id bits that the guest sets stay */
    CAP_SETGID,       /* new files belong to the caller */
    CAP_SETUID,       /* … */
    CAP_SETFCAP,      /* security.capability */
};

#define NAME_MAX_LEN 32

/* Calls `apply` for each word of the list. False: not well-formed, or apply said so. */
static bool each_word(const char *modcaps, bool (*apply)(bool add, int capability))
{
    const char *at = modcaps;
    while (*at != '\0') {
        char name[NAME_MAX_LEN];
        size_t len = strcspn(at + 1, ":");
        if ((*at != '+' && *at != '-') || len == 0 || len >= sizeof(name))
            return false;
        memcpy(name, at + 1, len);
        name[len] = '\0';
        int capability = capng_name_to_capability(name);
        if (capability < 0 || !apply(*at == '+', capability))
            return false;
        at += 1 + len;
        if (*at == ':' && *++at == '\0')
            return false;
    }
    return modcaps[0] != '\0';
}

static bool only_check(bool add, int capability)
{
    (void)add;
    (void)capability;
    return true;
}

bool sandbox_check_modcaps(const char *modcaps)
{
    return each_word(modcaps, only_check);
}

static bool modify(bool add, int capability)
{
    return capng_update(add ? CAPNG_ADD : CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED,
                        (unsigned)capability) == 0;
}

bool sandbox_drop_capabilities(const struct sandbox_options *options)
{
    bool had[CAP_LAST_CAP + 1];
    capng_get_caps_process();
    bool may_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) == 1;
    for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
        had[i] = capng_have_capability(CAPNG_PERMITTED, i) == 1;
    capng_clear(CAPNG_SELECT_BOTH);
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        modify(true, (int)kept[i]);
    if (options->file_handles)
        modify(true, CAP_DAC_READ_SEARCH);
    if (options->device_nodes) /* they are never opened here */
        modify(true, CAP_MKNOD);
    if (options->modcaps != NULL)
        each_word(options->modcaps, modify);
    for (unsigned i = 0; i <= CAP_LAST_CAP; i++) {
        if (!had[i])
            modify(false, (int)i);
    }
    if (capng_apply(may_bound ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) == 0)
        return true;
    fprintf(stderr, "oriel serve: sandbox: capabilities cannot be dropped\n");
    return false;
}
