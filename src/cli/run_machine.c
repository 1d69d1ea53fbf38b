#include "cli/run_machine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/run_stats.h"
#include "microvm/boot_config.h"
#include "microvm/console.h"
#include "microvm/fs_device.h"
#include "microvm/guest_files.h"
#include "microvm/vm.h"

/*
 * No ACPI, so nothing to probe for; no early scan of 256 PCI buses (65,536 exits); one serial port; a panic
 * resets at once, which ends the machine. Kernel messages below "critical" stay off the console that the
 * command's output goes to.
 */
#define CMDLINE_BASE                                                                                         \
    "console=ttyS0,115200 quiet loglevel=3 panic=-1 reboot=k acpi=off pci=noearly cryptomgr.notests "        \
    "8250.nr_uarts=1"

struct run_machine {
    const struct run_options *options;
    struct oriel_trace *trace;
    struct vm vm;
    bool vm_made;
    struct console console;
    struct fs_device shares[RUN_SHARES_MAX];
    size_t share_count;
    struct oriel_worker_pool *pool;
    int signal_fd;
    int stop_signal; /* the signal that ended it, or 0 */
};

/* ---- what the machine asks for ---- */

static void on_console_output(void *opaque, const uint8_t *data, size_t len)
{
    struct run_machine *machine = opaque;
    console_output(&machine->console, data, len);
}

static void on_console_ready(void *opaque)
{
    struct run_machine *machine = opaque;
    console_ready(&machine->console);
}

static void on_warning(void *opaque, const char *line)
{
    struct run_machine *machine = opaque;
    fprintf(stderr, "oriel run: %s%s", line, machine->console.is_raw ? "\r\n" : "\n");
}

static bool is_stopping(void *opaque)
{
    struct run_machine *machine = opaque;
    return vm_stopping(&machine->vm);
}

static void on_quit(void *opaque)
{
    struct run_machine *machine = opaque;
    machine->stop_signal = SIGINT;
    vm_stop(&machine->vm, VM_INTERRUPTED, 0, NULL);
}

/* ---- making ---- */

static int block_signals(struct run_machine *machine, struct vm_error *error)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGUSR1);
    machine->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (machine->signal_fd < 0)
        return vm_fail(error, -errno, "cannot create a signalfd: %s", strerror(errno));
    /* Not served, only not deadly: output that nobody reads is dropped, terminal access from the background
     * fails. */
    sigaddset(&set, SIGPIPE);
    sigaddset(&set, SIGXFSZ); /* a guest's write over RLIMIT_FSIZE is EFBIG */
    sigaddset(&set, SIGTTIN);
    sigaddset(&set, SIGTTOU);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return 0;
}

static int create_vm(struct run_machine *machine, struct vm_error *error)
{
    struct vm_options options = {.ram_size = machine->options->mem,
                                 .cpus = machine->options->cpus,
                                 .console_output = on_console_output,
                                 .console_ready = on_console_ready,
                                 .warn = on_warning,
                                 .opaque = machine};
    int err = vm_create(&options, &machine->vm, error);
    machine->vm_made = err == 0;
    return err;
}

static int create_shares(struct run_machine *machine, struct vm_error *error)
{
    int err = machine->options->share_count > 0 ? oriel_worker_pool_create(NULL, &machine->pool) : 0;
    if (err != 0)
        return vm_fail(error, err, "cannot start threads for the shares: %s", strerror(-err));
    for (size_t i = 0; err == 0 && i < machine->options->share_count; i++) {
        const struct share_spec *spec = &machine->options->shares[i];
        struct fs_device_options options = {.dir = spec->dir,
                                            .tag = spec->tag,
                                            .window_len = spec->window_len,
                                            .read_only = spec->read_only,
                                            .pool = machine->pool,
                                            .trace = machine->trace};
        machine->share_count = i + 1; /* fs_device_destroy() takes a half-made one */
        err = fs_device_create(&options, &machine->vm, &machine->shares[i], error);
    }
    if (err != 0 || machine->share_count == 0)
        return err;
    return fs_devices_connect_memory(machine->shares, machine->share_count, &machine->vm, error);
}

static const char *stdin_kind(const struct run_machine *machine)
{
    switch (machine->console.input) {
    case CONSOLE_INPUT_TERMINAL:
        return BOOT_STDIN_TERMINAL;
    case CONSOLE_INPUT_STREAM:
        return BOOT_STDIN_STREAM;
    case CONSOLE_INPUT_NULL:
    default:
        return BOOT_STDIN_NULL;
    }
}

static int build_guest_files(const struct run_machine *machine, const char *modules, struct initramfs *files,
                             struct vm_error *error)
{
    const struct run_options *options = machine->options;
    struct guest_mount mounts[RUN_SHARES_MAX];
    struct winsize size = {0};
    for (size_t i = 0; i < options->share_count; i++) {
        const struct share_spec *spec = &options->shares[i];
        mounts[i] = (struct guest_mount){.tag = spec->tag,
                                         .path = spec->mount,
                                         .dax = spec->window_len != 0,
                                         .read_only = spec->read_only};
    }
    if (machine->console.input == CONSOLE_INPUT_TERMINAL)
        ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
    struct guest_plan plan = {.modules_dir = modules,
                              .mounts = mounts,
                              .mount_count = options->share_count,
                              .directory = options->share_count > 0 ? options->shares[0].mount : NULL,
                              .argv = options->command,
                              .stdin_kind = stdin_kind(machine),
                              .term = getenv("TERM"),
                              .rows = size.ws_row,
                              .columns = size.ws_col};
    return guest_files_build(&plan, files, error);
}

static int load(struct run_machine *machine, const struct run_machine_options *options,
                struct vm_error *error)
{
    char cmdline[LAYOUT_CMDLINE_SIZE + 1];
    const char *extra = machine->options->cmdline_extra;
    struct initramfs files;
    int err = build_guest_files(machine, options->modules, &files, error);
    if (err != 0)
        return err;
    snprintf(cmdline, sizeof(cmdline), "%s%s%s", CMDLINE_BASE, extra != NULL ? " " : "",
             extra != NULL ? extra : "");
    struct boot_payload payload = {.cmdline = cmdline, .initramfs = files.bytes, .initramfs_len = files.len};
    err = vm_load(&machine->vm, options->kernel, &payload, error);
    initramfs_destroy(&files);
    return err;
}

int run_machine_create(const struct run_machine_options *options, struct run_machine **out,
                       struct vm_error *error)
{
    struct run_machine *machine = calloc(1, sizeof(*machine));
    if (machine == NULL)
        return vm_fail(error, -ENOMEM, "out of memory");
    machine->options = options->run;
    machine->trace = options->trace;
    machine->signal_fd = -1;
    int err = console_init(&machine->console, error);
    machine->console.stopping = is_stopping;
    machine->console.quit = on_quit;
    machine->console.opaque = machine;
    if (err == 0)
        err = create_vm(machine, error);
    if (err == 0)
        err = create_shares(machine, error);
    if (err == 0)
        err = load(machine, options, error);
    if (err == 0)
        err = block_signals(machine, error);
    if (err != 0) {
        run_machine_destroy(machine);
        return err;
    }
    *out = machine;
    return 0;
}

/* ---- running ---- */

int run_machine_start(struct run_machine *machine, struct vm_error *error)
{
    int err = console_start(&machine->console, &machine->vm.serial, error);
    for (size_t i = 0; err == 0 && i < machine->share_count; i++)
        err = fs_device_start(&machine->shares[i], error);
    if (err == 0)
        err = vm_start(&machine->vm, error);
    if (err != 0)
        vm_stop(&machine->vm, VM_FAILED, 0, error->text);
    return err;
}

static void print_stats(struct run_machine *machine, FILE *to, const char *line_end)
{
    struct run_stats stats;
    run_stats_collect(&machine->vm, machine->shares, machine->share_count, &stats);
    stats_table_print(to, &stats, line_end);
}

static void print_stats_now(struct run_machine *machine)
{
    print_stats(machine, stderr, machine->console.is_raw ? "\r\n" : "\n");
}

static void print_final_stats(struct run_machine *machine)
{
    const char *name = machine->options->stats_file;
    if (machine->options->no_stats)
        return;
    FILE *to = name != NULL ? fopen(name, "we") : stderr;
    if (to == NULL) {
        fprintf(stderr, "oriel run: cannot write '%s': %s\n", name, strerror(errno));
        return;
    }
    print_stats(machine, to, "\n");
    if (to != stderr)
        fclose(to);
}

static void serve_signals(struct run_machine *machine)
{
    struct signalfd_siginfo info;
    while (read(machine->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGUSR1) {
            print_stats_now(machine);
            continue;
        }
        machine->stop_signal = (int)info.ssi_signo;
        vm_stop(&machine->vm, VM_INTERRUPTED, 0, NULL);
    }
}

static int conclude(const struct run_machine *machine, const struct vm_result *result)
{
    switch (result->outcome) {
    case VM_EXITED:
        return result->status;
    case VM_INTERRUPTED:
        fprintf(stderr, "oriel run: stopped by %s\n", strsignal(machine->stop_signal));
        return BOOT_STATUS_SIGNAL_BASE + machine->stop_signal;
    case VM_RESET:
        if (machine->console.panic.seen)
            fprintf(stderr, "oriel run: the guest's kernel panicked: %s\n", machine->console.panic.reason);
        else
            fprintf(stderr, "oriel run: the guest restarted without telling how the command ended\n");
        return CLI_FAILED;
    case VM_RUNNING:
    case VM_FAILED:
    default:
        fprintf(stderr, "oriel run: %s\n", result->reason.text);
        return CLI_FAILED;
    }
}

int run_machine_wait(struct run_machine *machine)
{
    while (!vm_stopping(&machine->vm)) {
        struct pollfd fds[2] = {{.fd = machine->signal_fd, .events = POLLIN},
                                {.fd = machine->vm.stop_fd, .events = POLLIN}};
        if (poll(fds, 2, machine->vm.window_count > 0 ? VCPU_WATCH_INTERVAL_MS : -1) == 0)
            vm_watch(&machine->vm);
        else if (fds[0].revents != 0)
            serve_signals(machine);
    }
    const struct vm_result *result = vm_join(&machine->vm);
    for (size_t i = 0; i < machine->share_count; i++)
        fs_device_join(&machine->shares[i]);
    console_stop(&machine->console);
    print_final_stats(machine);
    return conclude(machine, result);
}

void run_machine_destroy(struct run_machine *machine)
{
    if (machine->vm_made) {
        vm_stop(&machine->vm, VM_INTERRUPTED, 0, NULL);
        vm_join(&machine->vm);
    }
    for (size_t i = 0; i < machine->share_count; i++)
        fs_device_join(&machine->shares[i]);
    console_destroy(&machine->console);
    if (machine->vm_made)
        vm_destroy(&machine->vm);
    for (size_t i = 0; i < machine->share_count; i++)
        fs_device_destroy(&machine->shares[i]);
    oriel_worker_pool_destroy(machine->pool);
    if (machine->signal_fd >= 0)
        close(machine->signal_fd);
    free(machine);
}
