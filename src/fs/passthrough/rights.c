#include "fs/passthrough/rights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/passthrough/ids.h"

#define NOT_TOLD   UINT32_C(0xffffffff)
#define GROUPS_MAX 65536 /* NGROUPS_MAX of the kernel */

static bool is_told(const oriel_fs_caller *caller)
{
    return caller->uid != NOT_TOLD && caller->gid != NOT_TOLD;
}

/*
 * A guest that does not say who asks gets the rights of the process, so where those must not be lent it has
 * to say it: to own a new file (Linux always tells it then), and where the host checks each operation.
 */
static bool has_to_tell(const struct passthrough *pt, enum creds_rights rights)
{
    return pt->options.switch_credentials && (rights == CREDS_OWNER || pt->options.enforce_credentials);
}

static enum creds_rights rights_of(const struct passthrough *pt, const oriel_fs_caller *caller,
                                   enum creds_rights rights)
{
    if (rights == CREDS_KILL && !pt->can_keep_sgid)
        rights = CREDS_OWN;
    bool told = caller != NULL && is_told(caller);
    if (pt->options.switch_credentials && told) {
        if (pt->options.enforce_credentials)
            return CREDS_CALLER;
        return rights;
    }
    return rights == CREDS_OWNER || rights == CREDS_CALLER ? CREDS_OWN : rights;
}

/* *groups is made anew where ids are translated. */
static int translate_groups(const struct passthrough *pt, struct creds_caller *who, uint32_t **groups)
{
    if (pt->options.gid_rules == NULL || who->group_count == 0)
        return 0;
    *groups = malloc(who->group_count * sizeof(**groups));
    if (*groups == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < who->group_count; i++) {
        int err = gid_to_host(pt, who->groups[i], &(*groups)[i]);
        if (err != 0)
            return err;
    }
    who->groups = *groups;
    return 0;
}

/* Without keep_credentials nothing is left switched, so a new thread comes with the rights of the process. */
static const struct creds_held *process_of(const struct passthrough *pt)
{
    return pt->options.keep_credentials ? &pt->process : NULL;
}

static int enter_as(const struct passthrough *pt, const oriel_fs_caller *caller, enum creds_rights rights)
{
    cleanup_free uint32_t *groups = NULL;
    struct creds_caller who = {
        .groups = caller->groups,
        .group_count = caller->groups != NULL ? caller->group_count : 0,
    };
    if (who.group_count > GROUPS_MAX)
        return -EINVAL;
    int err = uid_to_host(pt, caller->uid, &who.uid);
    if (err == 0)
        err = gid_to_host(pt, caller->gid, &who.gid);
    if (err == 0)
        err = translate_groups(pt, &who, &groups);
    return err != 0 ? err : creds_enter(rights, &who, process_of(pt));
}

int rights_any(const struct passthrough *pt)
{
    return creds_enter(CREDS_ANY, NULL, process_of(pt));
}

int rights_begin(struct passthrough *pt, const oriel_fs_caller *caller, enum creds_rights rights)
{
    if (caller != NULL && !is_told(caller) && has_to_tell(pt, rights))
        return -EPERM;
    rights = rights_of(pt, caller, rights);
    if (rights == CREDS_OWNER || rights == CREDS_CALLER)
        return enter_as(pt, caller, rights);
    return creds_enter(rights, NULL, process_of(pt));
}

void rights_end(struct passthrough *const *pt)
{
    if (*pt != NULL && !(*pt)->options.keep_credentials)
        creds_restore();
}
