/* The machine of one `oriel run`: VM, shares and console together, from making to the exit status. */
#ifndef ORIEL_CLI_RUN_MACHINE_H
#define ORIEL_CLI_RUN_MACHINE_H

#include <oriel/trace.h>

#include "cli/run_options.h"
#include "microvm/kernel_image.h"
#include "microvm/vm_error.h"

struct run_machine_options {
    const struct run_options *run;
    const struct kernel_image *kernel;
    const char *modules;       /* NULL: none are loaded */
    struct oriel_trace *trace; /* may be NULL */
};

struct run_machine;

/* Everything but starting: what fails here has started nothing. */
int run_machine_create(const struct run_machine_options *options, struct run_machine **out,
                       struct vm_error *error);
int run_machine_start(struct run_machine *machine, struct vm_error *error);

/* Serves signals until the machine stops, then tells how it ended. Returns the exit status. */
int run_machine_wait(struct run_machine *machine);

void run_machine_destroy(struct run_machine *machine);

#endif
