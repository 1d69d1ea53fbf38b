/*
 * Names of extended attributes: how those of a guest and those of the host correspond, by rules in virtiofsd's language.
 *
 * A text is a list of rules, with white space around each if you like. The first other character of a rule is its
 * separator:
 *
 *     :TYPE:SCOPE:KEY:PREPEND:      :map:KEY:PREPEND:
 *
 * SCOPE says which names a rule is for: `client` (a name that the guest uses; the rule matches when it begins with
 * KEY), `server` (a name in a list of the host; matches when it begins with PREPEND), or `all` (both). KEY and PREPEND may be
 * empty and then match every name. The first rule that matches counts. TYPE says what it does:
 *
 *     prefix       the host's name is PREPEND and the guest's name; in lists PREPEND is cut off
 *     ok           the name is the same on both sides
 *     bad          the guest gets EPERM (ENODATA when it reads); the name is left out of lists
 *     unsupported  the guest gets EOPNOTSUPP; the name is left out of lists
 *
 * `map` has to be the last rule and stands for three, all of scope `all`: prefix KEY PREPEND; bad with KEY and PREPEND
 * exchanged, so that names of the one kind are not reached as names of the other; ok for all the rest. With an empty KEY
 * for two: prefix, and bad for all the rest. Every name of either side must find a rule.
 *
 * Source of the language: virtiofsd's doc/xattr-mapping.md, QEMU's docs/tools/virtiofsd.rst.
 */
#ifndef ORIEL_XATTR_MAP_H
#define ORIEL_XATTR_MAP_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ORIEL_XATTR_MAP_TEXT_MAX 65536 /* bytes of text */
#define ORIEL_XATTR_MAP_RULES    256   /* rules, with those that `map` stands for */
#define ORIEL_XATTR_NAME_SIZE    256   /* the longest name of Linux (XATTR_NAME_MAX) and its NUL */

struct oriel_xattr_map;

/*
 * Reads rules; the text is not needed any more afterwards. What it gives never changes: any number of threads and
 * servers may use it.
 * Errors: -EINVAL (no such rules: `why` says which rule and what is wrong in one line without a newline, cut to why_size
 * bytes with its NUL; 0 = don't say), -ENOMEM.
 */
int oriel_xattr_map_create(const char *text, struct oriel_xattr_map **out, char *why, size_t why_size);

/* NULL is allowed. */
void oriel_xattr_map_destroy(struct oriel_xattr_map *map);

/*
 * The host's name of what a guest calls `guest`. Allocates nothing.
 * Errors: -EPERM (bad), -EOPNOTSUPP (unsupported), -ENAMETOOLONG (either name has more than 255 bytes).
 */
int oriel_xattr_map_to_host(const struct oriel_xattr_map *map, const char *guest,
                            char host[ORIEL_XATTR_NAME_SIZE]);

/*
 * The name under which a guest finds the host's attribute `host` in a list: all of it or its end, so *guest points into
 * it. Allocates nothing.
 * Errors: -ENODATA (to be left out): by a rule, or because oriel_xattr_map_to_host() would lead the guest from there to
 * another attribute or to none.
 */
int oriel_xattr_map_to_guest(const struct oriel_xattr_map *map, const char *host, const char **guest);

/* True when this name is the same on both sides. */
bool oriel_xattr_map_keeps(const struct oriel_xattr_map *map, const char *name);

#ifdef __cplusplus
}
#endif

#endif
