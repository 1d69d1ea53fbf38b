/* Reads the rules of oriel/xattr_map.h, and finds the one that a name follows. */
#include <oriel/xattr_map.h>

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define NAME_LEN_MAX (ORIEL_XATTR_NAME_SIZE - 1)
#define SHOWN_MAX    60 /* bytes of a rule in a message */

enum type {
    TYPE_PREFIX,
    TYPE_OK,
    TYPE_BAD,
    TYPE_UNSUPPORTED,
    TYPE_MAP, /* never stored */
};

enum scope {
    SCOPE_CLIENT = 1,
    SCOPE_SERVER = 2,
    SCOPE_ALL = 3,
};

/* What a name begins with; points into the map's text. */
struct start {
    const char *text;
    uint8_t len;
};

struct rule {
    enum type type;
    enum scope scope;
    struct start key, prepend;
};

struct oriel_xattr_map {
    size_t count;
    struct rule rules[ORIEL_XATTR_MAP_RULES];
    char text[];
};

/* ---- reading ---- */

struct reader {
    struct oriel_xattr_map *map;
    const char *at;
    const char *rule; /* the one that is read */
    unsigned number;  /* of it, from 1; 0: none */
    const char *wrong;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static const char *skip_space(const char *at)
{
    while (is_space(*at))
        at++;
    return at;
}

static bool fail(struct reader *r, const char *wrong)
{
    r->wrong = wrong;
    return false;
}

/* The text up to the separator, which is passed. */
static bool read_field(struct reader *r, char separator, struct start *out)
{
    const char *end = strchr(r->at, separator);
    if (end == NULL)
        return fail(r, "must be :type:scope:key:prepend: or :map:key:prepend:");
    if (end - r->at > NAME_LEN_MAX)
        return fail(r, "a field is longer than 255 bytes");
    *out = (struct start){.text = r->at, .len = (uint8_t)(end - r->at)};
    r->at = end + 1;
    return true;
}

struct word {
    const char *text;
    int value;
};

static bool choose(const struct word *words, size_t count, const struct start *field, int *value)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(words[i].text) == field->len && memcmp(words[i].text, field->text, field->len) == 0) {
            *value = words[i].value;
            return true;
        }
    }
    return false;
}

static bool read_type(struct reader *r, char separator, enum type *type)
{
    static const struct word words[] = {{"prefix", TYPE_PREFIX},
                                        {"ok", TYPE_OK},
                                        {"bad", TYPE_BAD},
                                        {"unsupported", TYPE_UNSUPPORTED},
                                        {"map", TYPE_MAP}};
    struct start field;
    int value;
    if (!read_field(r, separator, &field))
        return false;
    if (!choose(words, ARRAY_LEN(words), &field, &value))
        return fail(r, "the type must be prefix, ok, bad, unsupported or map");
    *type = (enum type)value;
    return true;
}

static bool read_scope(struct reader *r, char separator, enum scope *scope)
{
    static const struct word words[] = {
        {"client", SCOPE_CLIENT}, {"server", SCOPE_SERVER}, {"all", SCOPE_ALL}};
    struct start field;
    int value;
    if (!read_field(r, separator, &field))
        return false;
    if (!choose(words, ARRAY_LEN(words), &field, &value))
        return fail(r, "the scope must be client, server or all");
    *scope = (enum scope)value;
    return true;
}

static bool add(struct reader *r, enum type type, enum scope scope, struct start key, struct start prepend)
{
    struct oriel_xattr_map *map = r->map;
    if (map->count == ORIEL_XATTR_MAP_RULES)
        return fail(r, "there are more than 256 rules");
    map->rules[map->count++] = (struct rule){.type = type, .scope = scope, .key = key, .prepend = prepend};
    return true;
}

/* The rules that `map` stands for. */
static bool add_map(struct reader *r, struct start key, struct start prepend)
{
    const struct start any = {.text = "", .len = 0};
    if (!add(r, TYPE_PREFIX, SCOPE_ALL, key, prepend))
        return false;
    if (key.len == 0)
        return add(r, TYPE_BAD, SCOPE_ALL, any, any);
    return add(r, TYPE_BAD, SCOPE_ALL, prepend, key) && add(r, TYPE_OK, SCOPE_ALL, any, any);
}

static bool read_rule(struct reader *r)
{
    enum type type;
    enum scope scope = SCOPE_ALL;
    struct start key, prepend;
    char separator = *r->at++;
    if (!read_type(r, separator, &type) || (type != TYPE_MAP && !read_scope(r, separator, &scope)) ||
        !read_field(r, separator, &key) || !read_field(r, separator, &prepend))
        return false;
    if (type != TYPE_MAP)
        return add(r, type, scope, key, prepend);
    if (*skip_space(r->at) != '\0')
        return fail(r, "a map rule must be the last one");
    return add_map(r, key, prepend);
}

static const struct start *start_of(const struct rule *rule, enum scope scope)
{
    return scope == SCOPE_CLIENT ? &rule->key : &rule->prepend;
}

static bool catches_all(const struct oriel_xattr_map *map, enum scope scope)
{
    for (size_t i = 0; i < map->count; i++) {
        if ((map->rules[i].scope & scope) != 0 && start_of(&map->rules[i], scope)->len == 0)
            return true;
    }
    return false;
}

static bool read_rules(struct reader *r)
{
    for (r->at = skip_space(r->at); *r->at != '\0'; r->at = skip_space(r->at)) {
        r->rule = r->at;
        r->number++;
        if (!read_rule(r))
            return false;
    }
    r->number = 0;
    if (r->map->count == 0)
        return fail(r, "there is no rule");
    if (!catches_all(r->map, SCOPE_CLIENT))
        return fail(r, "no rule is for all other names of the guest: end with one like :bad:all:::");
    if (!catches_all(r->map, SCOPE_SERVER))
        return fail(r, "no rule is for all other names of the host: end with one like :bad:all:::");
    return true;
}

/* The message may go to a terminal. */
static void copy_shown(const char *rule, char shown[SHOWN_MAX + 1])
{
    size_t len = strnlen(rule, SHOWN_MAX);
    for (size_t i = 0; i < len; i++)
        shown[i] = rule[i] < ' ' || rule[i] > '~' ? '?' : rule[i];
    shown[len] = '\0';
}

static void explain(const struct reader *r, char *why, size_t why_size)
{
    char shown[SHOWN_MAX + 1];
    if (why_size == 0)
        return;
    if (r->number == 0) {
        snprintf(why, why_size, "%s", r->wrong);
        return;
    }
    copy_shown(r->rule, shown);
    snprintf(why, why_size, "rule %u (%s): %s", r->number, shown, r->wrong);
}

int oriel_xattr_map_create(const char *text, struct oriel_xattr_map **out, char *why, size_t why_size)
{
    struct reader r = {.wrong = "the rules are longer than 65536 bytes"};
    size_t len = strnlen(text, ORIEL_XATTR_MAP_TEXT_MAX + 1);
    if (len > ORIEL_XATTR_MAP_TEXT_MAX) {
        explain(&r, why, why_size);
        return -EINVAL;
    }
    r.map = malloc(sizeof(*r.map) + len + 1);
    if (r.map == NULL)
        return -ENOMEM;
    r.map->count = 0;
    memcpy(r.map->text, text, len + 1);
    r.at = r.map->text;
    if (!read_rules(&r)) {
        explain(&r, why, why_size);
        free(r.map);
        return -EINVAL;
    }
    *out = r.map;
    return 0;
}

void oriel_xattr_map_destroy(struct oriel_xattr_map *map)
{
    free(map);
}

/* ---- finding ---- */

static bool matches(const struct rule *rule, enum scope scope, const char *name, size_t len)
{
    const struct start *start = start_of(rule, scope);
    return (rule->scope & scope) != 0 && len >= start->len && memcmp(name, start->text, start->len) == 0;
}

static const struct rule *find(const struct oriel_xattr_map *map, enum scope scope, const char *name,
                               size_t len)
{
    size_t i = 0;
    while (i < map->count && !matches(&map->rules[i], scope, name, len))
        i++;
    assert(i < map->count); /* catches_all() */
    return &map->rules[i];
}

static int prefix(const struct start *start, const char *name, size_t len, char out[ORIEL_XATTR_NAME_SIZE])
{
    if (start->len + len > NAME_LEN_MAX)
        return -ENAMETOOLONG;
    memcpy(out, start->text, start->len);
    memcpy(out + start->len, name, len + 1);
    return 0;
}

int oriel_xattr_map_to_host(const struct oriel_xattr_map *map, const char *guest,
                            char host[ORIEL_XATTR_NAME_SIZE])
{
    const struct start nothing = {.text = "", .len = 0};
    size_t len = strnlen(guest, ORIEL_XATTR_NAME_SIZE);
    if (len > NAME_LEN_MAX)
        return -ENAMETOOLONG;
    const struct rule *rule = find(map, SCOPE_CLIENT, guest, len);
    switch (rule->type) {
    case TYPE_PREFIX:
        return prefix(&rule->prepend, guest, len, host);
    case TYPE_OK:
        return prefix(&nothing, guest, len, host);
    case TYPE_UNSUPPORTED:
        return -EOPNOTSUPP;
    case TYPE_BAD:
    case TYPE_MAP:
        break;
    }
    return -EPERM;
}

/* Whether the guest comes from its name to the host's. */
static bool leads_back(const struct oriel_xattr_map *map, const char *guest, const char *host)
{
    char again[ORIEL_XATTR_NAME_SIZE];
    return guest[0] != '\0' && oriel_xattr_map_to_host(map, guest, again) == 0 && strcmp(again, host) == 0;
}

int oriel_xattr_map_to_guest(const struct oriel_xattr_map *map, const char *host, const char **guest)
{
    size_t len = strnlen(host, ORIEL_XATTR_NAME_SIZE);
    if (len > NAME_LEN_MAX)
        return -ENODATA;
    const struct rule *rule = find(map, SCOPE_SERVER, host, len);
    if (rule->type == TYPE_BAD || rule->type == TYPE_UNSUPPORTED)
        return -ENODATA;
    const char *name = rule->type == TYPE_PREFIX ? host + rule->prepend.len : host;
    if (!leads_back(map, name, host))
        return -ENODATA;
    *guest = name;
    return 0;
}

bool oriel_xattr_map_keeps(const struct oriel_xattr_map *map, const char *name)
{
    const char *listed;
    return oriel_xattr_map_to_guest(map, name, &listed) == 0 && listed == name;
}
