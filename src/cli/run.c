/* oriel run: boots a microVM that mounts host folders and runs a command in it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/host_kernel.h"
#include "cli/run_machine.h"
#include "cli/run_options.h"

#define KERNEL_FOLDER "/boot"

/* Each node and each open file of the guest costs a descriptor here. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int refuse(const struct vm_error *error)
{
    fprintf(stderr, "oriel run: %s\n", error->text);
    return CLI_USAGE;
}

static int open_trace(const struct run_options *options, struct oriel_trace **trace, struct vm_error *error)
{
    const char *target = options->trace != NULL ? options->trace : getenv("ORIEL_TRACE");
    int err = options->trace != NULL ? oriel_trace_open(options->trace, trace) : oriel_trace_from_env(trace);
    if (err != 0)
        return vm_fail(error, err, "cannot write the trace '%s': %s; name another file with --trace", target,
                       strerror(-err));
    return 0;
}

static int run_with_kernel(const struct run_options *options, const struct kernel_image *kernel,
                           struct oriel_trace *trace)
{
    struct vm_error error;
    cleanup_free char *found = NULL;
    const char *modules = options->modules;
    if (modules != NULL && strcmp(modules, "none") == 0) {
        modules = NULL;
    } else if (modules == NULL) {
        if (find_modules(kernel, &found, &error) != 0)
            return refuse(&error);
        modules = found;
    }
    struct run_machine *machine;
    struct run_machine_options machine_options = {
        .run = options, .kernel = kernel, .modules = modules, .trace = trace};
    int status = CLI_USAGE;
    if (run_machine_create(&machine_options, &machine, &error) != 0)
        return refuse(&error);
    if (run_machine_start(machine, &error) != 0)
        refuse(&error);
    else
        status = run_machine_wait(machine);
    run_machine_destroy(machine);
    return status;
}

static int run(const struct run_options *options)
{
    struct vm_error error;
    struct kernel_image kernel;
    cleanup_free char *newest = NULL;
    const char *path = options->kernel;
    struct oriel_trace *trace = NULL;
    if (path == NULL) {
        if (newest_kernel(KERNEL_FOLDER, &newest, &error) != 0)
            return refuse(&error);
        path = newest;
    }
    if (kernel_image_open(path, &kernel, &error) != 0)
        return refuse(&error);
    int status = CLI_USAGE;
    if (open_trace(options, &trace, &error) != 0)
        refuse(&error);
    else
        status = run_with_kernel(options, &kernel, trace);
    oriel_trace_close(trace);
    kernel_image_close(&kernel);
    return status;
}

int cmd_run(int argc, char **argv)
{
    struct run_options options;
    struct vm_error error;
    if (run_options_parse(argc, argv, &options, &error) != 0)
        return refuse(&error);
    int status = CLI_OK;
    if (options.help) {
        fputs(run_usage, stdout);
    } else {
        raise_descriptor_limit();
        status = run(&options);
    }
    run_options_destroy(&options);
    return status;
}
