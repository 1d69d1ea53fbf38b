/* The `oriel` command: picks the subcommand. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "cli/command.h"

static const struct cli_command commands[] = {
    {"inspect", "print a saved DAX window as a table and a map", cmd_inspect},
    {"mount", "mount a folder or a RAM file system through /dev/fuse", cmd_mount},
#ifdef ORIEL_HAVE_MICROVM
    {"run", "boot a microVM that mounts host folders with DAX and run a command in it", cmd_run},
#endif
    {"serve", "share a folder over vhost-user: a drop-in for virtiofsd", cmd_serve},
};

/* The name under which management tools start `oriel serve`: they know no subcommands. */
static const char serve_name[] = "oriel-virtiofsd";

static void print_usage(FILE *to)
{
    fprintf(to, "usage: oriel COMMAND [OPTION…]\n\ncommands:\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].summary);
    fprintf(to, "  %-8s %s\n", "help", "print this");
    fprintf(to, "  %-8s %s\n\n`oriel COMMAND --help` explains a command.\n", "version", "print the version");
}

static const struct cli_command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static bool is_called(const char *argv0, const char *name)
{
    const char *slash = strrchr(argv0, '/');
    return strcmp(slash != NULL ? slash + 1 : argv0, name) == 0;
}

int main(int argc, char **argv)
{
    if (argc > 0 && is_called(argv[0], serve_name))
        return cmd_serve(argc, argv);
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    const struct cli_command *command = find(name);
    if (command != NULL)
        return command->run(argc - 1, argv + 1);
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_usage(stdout);
        return CLI_OK;
    }
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        printf("oriel %s\n", ORIEL_VERSION);
        return CLI_OK;
    }
    fprintf(stderr, "oriel: there is no command '%s'; `oriel help` lists them\n", name);
    return CLI_USAGE;
}
