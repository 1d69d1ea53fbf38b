/* A subcommand of `oriel`: one file cmd_NAME.c (or a group of files) and one row in main.c. */
#ifndef ORIEL_CLI_COMMAND_H
#define ORIEL_CLI_COMMAND_H

/* Exit statuses of every subcommand. */
enum cli_status {
    CLI_OK = 0,
    CLI_FAILED = 1, /* it started and could not be carried through */
    CLI_USAGE = 2,  /* what was asked for cannot be done: one line said why, nothing was started */
};

struct cli_command {
    const char *name;
    const char *summary; /* one line for `oriel help` */
    /* argv[0] is the subcommand's name. Returns the exit status. */
    int (*run)(int argc, char **argv);
};

int cmd_inspect(int argc, char **argv);
int cmd_mount(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_serve(int argc, char **argv);

#endif
