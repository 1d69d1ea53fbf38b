/* --xattrmap: how names of extended attributes of the guest and of the host correspond, as virtiofsd writes it. */
#ifndef ORIEL_CLI_XATTR_OPTION_H
#define ORIEL_CLI_XATTR_OPTION_H

#include <stdbool.h>

#include <oriel/xattr_map.h>

struct xattr_option {
    struct oriel_xattr_map *map; /* NULL: not given */
    char wrong[200];             /* with the rule at fault */
};

/* Takes the place of rules that were given before. NULL, or what is wrong with the text (then those stay). */
const char *xattr_option_set(struct xattr_option *option, const char *text);

void xattr_option_destroy(struct xattr_option *option);

/* False: access lists would be on the host under names that its kernel does not obey. */
bool xattr_option_keeps_acls(const struct xattr_option *option);

#endif
