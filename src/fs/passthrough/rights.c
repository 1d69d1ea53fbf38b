#include "fs/passthrough/rights.h"

#define NOT_TOLD UINT32_C(0xffffffff)

static enum creds_rights rights_of(const struct passthrough *pt, const oriel_fs_caller *caller,
                                   enum creds_rights rights)
{
    bool told = caller != NULL && caller->uid != NOT_TOLD && caller->gid != NOT_TOLD;
    if (pt->options.switch_credentials && told) {
        if (pt->options.enforce_credentials)
            return CREDS_CALLER;
        return rights;
    }
    return rights == CREDS_OWNER || rights == CREDS_CALLER ? CREDS_OWN : rights;
}

int rights_begin(struct passthrough *pt, const oriel_fs_caller *caller, enum creds_rights rights)
{
    rights = rights_of(pt, caller, rights);
    if (rights != CREDS_OWNER && rights != CREDS_CALLER)
        return creds_enter(rights, NULL);
    const struct creds_caller who = {
        .uid = caller->uid,
        .gid = caller->gid,
        .groups = caller->groups,
        .group_count = caller->groups != NULL ? caller->group_count : 0,
    };
    return creds_enter(rights, &who);
}

void rights_end(struct passthrough *const *pt)
{
    if (*pt != NULL && !(*pt)->options.keep_credentials)
        creds_restore();
}
