/* --translate-uid and --translate-gid: how ids of the guest and of the host correspond, as virtiofsd writes it. */
#ifndef ORIEL_CLI_ID_RULES_H
#define ORIEL_CLI_ID_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include <oriel/passthrough.h>

#define ID_RULES_MAX 128

struct id_rules {
    struct oriel_id_rule rules[ID_RULES_MAX];
    size_t count;
};

/*
 * Adds one rule: TYPE:SOURCE:TARGET[:COUNT], of forbid-guest TYPE:SOURCE[:COUNT]. COUNT is 1 when left out.
 * NULL, or what is wrong with the text (then nothing was added).
 */
const char *id_rules_add(struct id_rules *rules, const char *text);

/* True when some ids are forbidden: new files can be kept from them only by a back-end that switches
 * credentials. */
bool id_rules_forbid(const struct id_rules *rules);

#endif
