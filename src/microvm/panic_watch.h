/* Notices a kernel panic in what the guest prints: without ACPI the guest has no other way to say so. */
#ifndef ORIEL_MICROVM_PANIC_WATCH_H
#define ORIEL_MICROVM_PANIC_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct panic_watch {
    char line[160];
    size_t len;
    char reason[160]; /* text behind the kernel's words, empty until seen */
    bool seen;
};

void panic_watch_feed(struct panic_watch *watch, const uint8_t *data, size_t len);

#endif
