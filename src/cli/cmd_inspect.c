/* `oriel inspect FILE`. */
#include "cli/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <oriel/dax.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "cli/command.h"

#define MAP_COLUMNS 64
#define MAP_CELLS   (16 * MAP_COLUMNS)

static const char *size_text(uint64_t bytes, char *text, size_t room)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    while (unit + 1 < ARRAY_LEN(units) && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, room, "%" PRIu64 " %s", bytes, units[unit]);
    return text;
}

static void print_table(FILE *out, const void *blob, const struct oriel_daxs *head)
{
    fprintf(out, "%18s %12s %20s %18s  %s\n", "window offset", "length", "node", "file offset", "rights");
    for (uint64_t i = 0; i < head->entry_count; i++) {
        const struct oriel_dax_slot slot = oriel_daxs_entry(blob, i);
        char len[32];
        fprintf(out, "%#18" PRIx64 " %12s %20" PRIu64 " %#18" PRIx64 "  %s\n", slot.moffset,
                size_text(slot.len, len, sizeof(len)), slot.nodeid, slot.foffset,
                slot.prot & ORIEL_DAX_WRITE ? "read, write" : "read");
    }
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* A file's letter: the same file has the same one everywhere; capital where the guest may write. */
static char letter(const struct oriel_dax_slot *slot)
{
    return (char)((slot->prot & ORIEL_DAX_WRITE ? 'A' : 'a') + (char)(slot->nodeid % 26));
}

/* The window in cells of equal size: the letter of what a cell shows, '+' where it is more than one thing. */
static void print_map(FILE *out, const void *blob, const struct oriel_daxs *head)
{
    char cells[MAP_CELLS], text[32];
    uint64_t cell_len = divide_up(head->window_len, MAP_CELLS);
    memset(cells, '.', sizeof(cells));
    for (uint64_t i = 0; i < head->entry_count; i++) {
        const struct oriel_dax_slot slot = oriel_daxs_entry(blob, i);
        if (slot.len == 0 || !range_within(slot.moffset, slot.len, head->window_len))
            continue; /* the session would refuse it; the table shows it */
        uint64_t last = (slot.moffset + slot.len - 1) / cell_len;
        for (uint64_t cell = slot.moffset / cell_len; cell <= last; cell++)
            cells[cell] = cells[cell] == '.' || cells[cell] == letter(&slot) ? letter(&slot) : '+';
    }
    uint64_t used = divide_up(head->window_len, cell_len);
    fprintf(out, "\nthe window, %s a character (a-z a file, A-Z writable, + several, . nothing)\n",
            size_text(cell_len, text, sizeof(text)));
    for (uint64_t cell = 0; cell < used; cell += MAP_COLUMNS)
        fprintf(out, "%#14" PRIx64 " %.*s\n", cell * cell_len, (int)min_u64(MAP_COLUMNS, used - cell),
                cells + cell);
}

int inspect_section(FILE *out, const void *blob, size_t size)
{
    struct oriel_daxs head;
    char window[32], cap[32], mapped[32];
    int err = oriel_daxs_open(blob, size, &head);
    if (err != 0)
        return err;
    fprintf(out, "DAX window of %s at %#" PRIx64 ", cap %s, %s mapped in %" PRIu64 " slots, all saved\n\n",
            size_text(head.window_len, window, sizeof(window)), head.window_gpa,
            size_text(head.cap_bytes, cap, sizeof(cap)), size_text(head.mapped_bytes, mapped, sizeof(mapped)),
            head.entry_count);
    print_table(out, blob, &head);
    if (head.window_len > 0)
        print_map(out, blob, &head);
    return 0;
}

static const char *why(int err)
{
    switch (err) {
    case -ENOMSG:
        return "not a saved DAX section (it does not start with DAXS)";
    case -EPROTONOSUPPORT:
        return "a version that this program does not know";
    case -EMSGSIZE:
        return "truncated";
    case -E2BIG:
        return "longer than its entries";
    default:
        return strerror(-err);
    }
}

static int inspect_file(const char *path)
{
    struct stat st;
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size == 0)
        return -ENOMSG;
    void *blob = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (blob == MAP_FAILED)
        return -errno;
    int err = inspect_section(stdout, blob, (size_t)st.st_size);
    munmap(blob, (size_t)st.st_size);
    return err;
}

int cmd_inspect(int argc, char **argv)
{
    if (argc != 2 || strcmp(argv[1], "--help") == 0) {
        fprintf(argc == 2 ? stdout : stderr,
                "usage: oriel inspect FILE\n\n"
                "Prints a saved DAX section (docs/formats.md) as a table and as a map of "
                "the window.\n");
        return argc == 2 ? CLI_OK : CLI_USAGE;
    }
    int err = inspect_file(argv[1]);
    if (err == 0)
        return CLI_OK;
    fprintf(stderr, "oriel inspect: %s: %s\n", argv[1], why(err));
    return CLI_USAGE;
}
