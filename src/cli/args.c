#include "cli/args.h"

#include <string.h>

#include "base/checked.h"

/* Reads digits and moves *text behind them. False when there are none or they do not fit. */
static bool read_digits(const char **text, uint64_t *number)
{
    const char *p = *text;
    *number = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (!checked_mul_u64(*number, 10, number) || !checked_add_u64(*number, (uint64_t)(*p - '0'), number))
            return false;
    }
    bool any = p != *text;
    *text = p;
    return any;
}

bool parse_size(const char *text, uint64_t unit, uint64_t *bytes)
{
    static const char suffixes[] = "KMGT";
    uint64_t number;
    if (!read_digits(&text, &number))
        return false;
    if (*text != '\0') {
        const char *suffix = strchr(suffixes, *text & ~0x20);
        if (suffix == NULL || *suffix == '\0' || text[1] != '\0')
            return false;
        unit = UINT64_C(1) << (10 * (suffix - suffixes + 1));
    }
    return checked_mul_u64(number, unit, bytes);
}

bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    return read_digits(&text, number) && *text == '\0' && *number >= min && *number <= max;
}
