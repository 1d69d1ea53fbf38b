#include "fuse/request_trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/le.h"
#include "fuse/op_table.h"

#define LINE_MAX_ 900

struct line {
    char text[LINE_MAX_];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line->text + line->used, sizeof(line->text) - line->used, format, args);
    va_end(args);
    if (n > 0)
        line->used = min_u64(line->used + (size_t)n, sizeof(line->text) - 1);
}

/* Writes the numbers that a row's format names; returns how many bytes they take. */
static size_t add_numbers(struct line *line, const char *format, const uint8_t *bytes, size_t len)
{
    size_t at = 0;
    while (format != NULL && *format != '\0') {
        size_t width = *format == 'x' ? 8 : 4, name = strcspn(format, " ");
        if (width > len - at)
            break;
        unsigned long long value = width == 8 ? le64_load(bytes + at) : le32_load(bytes + at);
        add(line, " %.*s=%#llx", (int)name - 1, format + 1, value);
        at += width;
        format += name + strspn(format + name, " ");
    }
    return at;
}

/* What follows the numbers of operations that have names: each string up to its NUL. */
static void add_strings(struct line *line, const uint8_t *bytes, size_t len)
{
    for (int i = 0; i < 2 && len > 0; i++) {
        size_t n = strnlen((const char *)bytes, len);
        if (n == 0 || n == len)
            return;
        add(line, " \"%.*s\"", (int)n, (const char *)bytes);
        bytes += n + 1;
        len -= n + 1;
    }
}

static bool has_strings(const struct op_row *op)
{
    return op->max_args > sizeof(struct wire_setattr_in) + 2048 && (op->flags & OP_DATA) == 0;
}

void request_trace_begin_(const struct request *r)
{
    struct line line = {.used = 0};
    const struct wire_in_header *h = &r->header;
    add(&line, "fuse > %s unique=%llu node=%#llx len=%u uid=%u gid=%u pid=%u ext=%u", r->op->name,
        (unsigned long long)h->unique, (unsigned long long)h->nodeid, h->len, h->uid, h->gid, h->pid,
        h->total_extlen);
    if (r->op->name == op_row_unknown()->name)
        add(&line, " opcode=%u", h->opcode);
    size_t numbers = add_numbers(&line, r->op->args_format, r->args, r->args_left);
    if (has_strings(r->op))
        add_strings(&line, r->args + numbers, r->args_left - numbers);
    oriel_trace_line(r->server->options.trace, "%s", line.text);
}

void request_trace_end_(const struct request *r, int rc, size_t len, uint64_t ns)
{
    struct line line = {.used = 0};
    add(&line, "fuse < %s unique=%llu node=%#llx error=%d len=%zu us=%llu.%03llu", r->op->name,
        (unsigned long long)r->header.unique, (unsigned long long)r->header.nodeid, rc, len,
        (unsigned long long)(ns / 1000), (unsigned long long)(ns % 1000));
    if (rc == 0)
        add_numbers(&line, r->op->reply_format, r->reply_start,
                    min_u64(r->reply_len, sizeof(r->reply_start)));
    oriel_trace_line(r->server->options.trace, "%s", line.text);
}
