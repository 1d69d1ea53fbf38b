#include "microvm/panic_watch.h"

#include <string.h>

#define PANIC_WORDS "Kernel panic - not syncing: "

static void look_at_line(struct panic_watch *watch)
{
    watch->line[watch->len] = '\0';
    const char *found = strstr(watch->line, PANIC_WORDS);
    watch->len = 0;
    if (found == NULL || watch->seen)
        return;
    watch->seen = true;
    strcpy(watch->reason, found + strlen(PANIC_WORDS));
}

void panic_watch_feed(struct panic_watch *watch, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n')
            look_at_line(watch);
        else if (data[i] >= 0x20 && data[i] < 0x7f && watch->len < sizeof(watch->line) - 1)
            watch->line[watch->len++] = (char)data[i];
    }
}
