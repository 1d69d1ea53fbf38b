#include "cli/run_options.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "base/checked.h"
#include "cli/args.h"
#include "microvm/layout.h"

#define WINDOW_COST_DIVISOR 64

const char run_usage[] =
    "usage: oriel run --share DIR:TAG[,dax=SIZE][,ro] [OPTION…] [--] [COMMAND [ARGUMENT…]]\n"
    "\n"
    "Boots a kernel in a small virtual machine, mounts each folder DIR there at /mnt/TAG and runs COMMAND "
    "in\n"
    "the first one, or a shell. The exit status is the command's.\n"
    "\n"
    "  --share DIR:TAG[,dax=SIZE][,ro]  shares a folder; dax: size of its DAX window, a power of two from "
    "32M\n"
    "                                   (1G; 0: none); ro: read-only; may be given several times\n"
    "  --kernel FILE                    bzImage, or ELF vmlinux with a PVH entry (the newest vmlinuz in "
    "/boot)\n"
    "  --modules DIR                    the kernel's modules folder, or none (found beside the kernel)\n"
    "  --mem SIZE                       guest memory, plain numbers in MiB (1G)\n"
    "  --cpus N                         processors, 1 to 64 (1)\n"
    "  --cmdline-extra WORDS            more words for the kernel's command line\n"
    "  --trace FILE                     writes a line for every FUSE and DAX event (ORIEL_TRACE does too)\n"
    "  --stats=FILE, --no-stats         where the table at the end goes (standard error), or no table\n"
    "\n"
    "In a terminal Ctrl-A x ends the machine. SIGUSR1 prints the table. Statuses of our own: 1 the guest "
    "failed,\n"
    "2 it was not started, 125 it could not mount a share, 126 and 127 COMMAND could not be run or found.\n";

enum option_code {
    OPTION_SHARE = 256,
    OPTION_KERNEL,
    OPTION_MODULES,
    OPTION_MEM,
    OPTION_CPUS,
    OPTION_CMDLINE_EXTRA,
    OPTION_TRACE,
    OPTION_STATS,
    OPTION_NO_STATS,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"share", required_argument, NULL, OPTION_SHARE},
    {"kernel", required_argument, NULL, OPTION_KERNEL},
    {"modules", required_argument, NULL, OPTION_MODULES},
    {"mem", required_argument, NULL, OPTION_MEM},
    {"cpus", required_argument, NULL, OPTION_CPUS},
    {"cmdline-extra", required_argument, NULL, OPTION_CMDLINE_EXTRA},
    {"trace", required_argument, NULL, OPTION_TRACE},
    {"stats", optional_argument, NULL, OPTION_STATS},
    {"no-stats", no_argument, NULL, OPTION_NO_STATS},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static int take_share(const char *text, struct run_options *options, struct vm_error *error)
{
    if (options->share_count == RUN_SHARES_MAX)
        return vm_fail(error, -EINVAL, "at most %d folders can be shared", RUN_SHARES_MAX);
    struct share_spec *spec = &options->shares[options->share_count];
    int err = share_spec_parse(text, spec, error);
    if (err != 0)
        return err;
    options->share_count++;
    for (size_t i = 0; i + 1 < options->share_count; i++) {
        if (strcmp(options->shares[i].tag, spec->tag) == 0)
            return vm_fail(error, -EINVAL, "two shares have the tag '%s': give each its own", spec->tag);
    }
    return 0;
}

static int take_mem(const char *text, struct run_options *options, struct vm_error *error)
{
    if (!parse_size(text, LAYOUT_MIB, &options->mem) || options->mem < LAYOUT_RAM_MIN ||
        options->mem > LAYOUT_RAM_MAX)
        return vm_fail(error, -EINVAL, "--mem %s: guest memory must be 128M to 1T, for example --mem 512M",
                       text);
    return 0;
}

static int take_cpus(const char *text, struct run_options *options, struct vm_error *error)
{
    uint64_t cpus;
    if (!parse_number(text, 1, LAYOUT_CPUS_MAX, &cpus))
        return vm_fail(error, -EINVAL, "--cpus %s: the number of processors must be 1 to %d", text,
                       LAYOUT_CPUS_MAX);
    options->cpus = (unsigned)cpus;
    return 0;
}

static int take_word(const char *option, const char *text, const char **place, struct vm_error *error)
{
    if (text[0] == '\0')
        return vm_fail(error, -EINVAL, "--%s needs a value", option);
    *place = text;
    return 0;
}

static int take_option(int code, const char *text, struct run_options *options, struct vm_error *error)
{
    switch (code) {
    case OPTION_SHARE:
        return take_share(text, options, error);
    case OPTION_KERNEL:
        return take_word("kernel", text, &options->kernel, error);
    case OPTION_MODULES:
        return take_word("modules", text, &options->modules, error);
    case OPTION_MEM:
        return take_mem(text, options, error);
    case OPTION_CPUS:
        return take_cpus(text, options, error);
    case OPTION_CMDLINE_EXTRA:
        options->cmdline_extra = text;
        return 0;
    case OPTION_TRACE:
        return take_word("trace", text, &options->trace, error);
    case OPTION_STATS:
        options->no_stats = false;
        options->stats_file = text;
        return 0;
    case OPTION_NO_STATS:
        options->no_stats = true;
        return 0;
    case OPTION_HELP:
        options->help = true;
        return 0;
    default:
        return -EINVAL;
    }
}

/* The guest keeps 64 bytes about every 4 KiB of a window; without memory for the rest it would
 * not even boot. */
static int check_window_cost(const struct run_options *options, struct vm_error *error)
{
    uint64_t windows = 0;
    for (size_t i = 0; i < options->share_count; i++) {
        if (!checked_add_u64(windows, options->shares[i].window_len, &windows))
            windows = UINT64_MAX;
    }
    uint64_t cost = windows / WINDOW_COST_DIVISOR;
    if (cost <= options->mem / 2)
        return 0;
    return vm_fail(error, -EINVAL,
                   "the DAX windows would take %llu MiB of the guest's %llu MiB of memory; give more with "
                   "--mem or take a "
                   "smaller dax=",
                   (unsigned long long)(cost / LAYOUT_MIB), (unsigned long long)(options->mem / LAYOUT_MIB));
}

static int bad_option(int code, const char *word, struct vm_error *error)
{
    if (code == ':')
        return vm_fail(error, -EINVAL, "%s needs a value; `oriel run --help` explains it", word);
    return vm_fail(error, -EINVAL, "there is no option %s; `oriel run --help` lists them", word);
}

int run_options_parse(int argc, char **argv, struct run_options *options, struct vm_error *error)
{
    int err = 0, code;
    *options = (struct run_options){.mem = RUN_MEM_DEFAULT, .cpus = 1};
    optind = 0; /* starts anew: the tests parse many times */
    opterr = 0;
    while (err == 0 && (code = getopt_long(argc, argv, "+:", long_options, NULL)) != -1) {
        if (code == '?' || code == ':')
            err = bad_option(code, argv[optind - 1], error);
        else
            err = take_option(code, optarg, options, error);
    }
    if (err == 0)
        err = check_window_cost(options, error);
    if (err != 0) {
        run_options_destroy(options);
        return err;
    }
    options->command = argv + optind;
    return 0;
}

void run_options_destroy(struct run_options *options)
{
    for (size_t i = 0; i < options->share_count; i++)
        share_spec_destroy(&options->shares[i]);
    options->share_count = 0;
}
