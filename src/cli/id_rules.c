#include "cli/id_rules.h"

#include <stdint.h>
#include <string.h>

#include "base/checked.h"
#include "cli/args.h"

#define NO_ID UINT32_C(0xffffffff)

enum direction {
    TO_HOST = 1,
    TO_GUEST = 2,
};

struct type {
    const char *name;
    enum oriel_id_rule_kind kind;
    unsigned directions; /* of enum direction */
    bool guest_is_source;
    bool has_target;
    bool target_is_range; /* as long as the source; else one id */
};

static const struct type types[] = {
    {"guest", ORIEL_ID_GUEST, TO_HOST, true, true, true},
    {"host", ORIEL_ID_HOST, TO_GUEST, false, true, true},
    {"squash-guest", ORIEL_ID_SQUASH_GUEST, TO_HOST, true, true, false},
    {"squash-host", ORIEL_ID_SQUASH_HOST, TO_GUEST, false, true, false},
    {"forbid-guest", ORIEL_ID_FORBID_GUEST, TO_HOST, true, false, false},
    {"map", ORIEL_ID_MAP, TO_HOST | TO_GUEST, true, true, true},
};

static unsigned directions_of(const struct oriel_id_rule *rule)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (types[i].kind == rule->kind)
            return types[i].directions;
    }
    return 0;
}

static const struct type *find_type(const char *text, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strlen(types[i].name) == len && memcmp(types[i].name, text, len) == 0)
            return &types[i];
    }
    return NULL;
}

/* Reads ":NUMBER" and moves *text behind it. */
static const char *read_field(const char **text, uint32_t *value)
{
    char digits[24];
    uint64_t number;
    const char *from = *text + 1; /* behind the colon */
    size_t len = strcspn(from, ":");
    if (len == 0)
        return "has an empty field";
    if (len >= sizeof(digits))
        return "has a number of more than 32 bits";
    memcpy(digits, from, len);
    digits[len] = '\0';
    if (strspn(digits, "0123456789") != len)
        return "has a field that is not a number";
    if (!parse_number(digits, 0, UINT32_MAX, &number))
        return "has a number of more than 32 bits";
    *value = (uint32_t)number;
    *text = from + len;
    return NULL;
}

/* The numbers behind the type. */
static const char *read_fields(const struct type *type, const char *text, uint32_t fields[3], size_t *count)
{
    const size_t most = type->has_target ? 3 : 2;
    *count = 0;
    while (*text == ':') {
        if (*count == most)
            return type->has_target ? "has more than SOURCE:TARGET:COUNT behind its type"
                                    : "has more than SOURCE:COUNT behind forbid-guest";
        const char *wrong = read_field(&text, &fields[*count]);
        if (wrong != NULL)
            return wrong;
        ++*count;
    }
    if (*count < most - 1)
        return type->has_target ? "must be TYPE:SOURCE:TARGET[:COUNT]"
                                : "must be forbid-guest:SOURCE[:COUNT]";
    return NULL;
}

/* The id 2^32 - 1 means none. */
static bool range_fits(uint32_t first, uint32_t count)
{
    return first != NO_ID && count <= NO_ID - first;
}

static const char *parse(const char *text, struct oriel_id_rule *rule)
{
    uint32_t fields[3];
    size_t given, len = strcspn(text, ":");
    const struct type *type = find_type(text, len);
    if (type == NULL)
        return "must begin with guest:, host:, squash-guest:, squash-host:, forbid-guest: or map:";
    const char *wrong = read_fields(type, text + len, fields, &given);
    if (wrong != NULL)
        return wrong;
    const size_t without_count = type->has_target ? 2 : 1;
    uint32_t source = fields[0], target = type->has_target ? fields[1] : 0;
    uint32_t count = given > without_count ? fields[without_count] : 1;
    if (count == 0)
        return "has an empty range";
    if (!range_fits(source, count) || !range_fits(target, type->target_is_range ? count : 1))
        return "has a range that does not end before 4294967295";
    *rule = (struct oriel_id_rule){
        .kind = type->kind,
        .guest = type->guest_is_source ? source : target,
        .host = type->guest_is_source ? target : source,
        .count = count,
    };
    return NULL;
}

/* Two rules must not speak of the same id in the same direction. */
static bool overlap(const struct oriel_id_rule *a, const struct oriel_id_rule *b)
{
    unsigned both = directions_of(a) & directions_of(b);
    return ((both & TO_HOST) && ranges_overlap(a->guest, a->count, b->guest, b->count)) ||
           ((both & TO_GUEST) && ranges_overlap(a->host, a->count, b->host, b->count));
}

const char *id_rules_add(struct id_rules *rules, const char *text)
{
    struct oriel_id_rule rule;
    const char *wrong = parse(text, &rule);
    if (wrong != NULL)
        return wrong;
    if (rules->count == ID_RULES_MAX)
        return "is given more than 128 times";
    for (size_t i = 0; i < rules->count; i++) {
        if (overlap(&rules->rules[i], &rule))
            return "overlaps a map given before";
    }
    rules->rules[rules->count++] = rule;
    return NULL;
}

bool id_rules_forbid(const struct id_rules *rules)
{
    for (size_t i = 0; i < rules->count; i++) {
        if (rules->rules[i].kind == ORIEL_ID_FORBID_GUEST)
            return true;
    }
    return false;
}
