/* posix_suite DIR TOPIC: makes DIR/TOPIC, works in it, and logs to stdout. */
#include "log.h"

#include <signal.h>

static const struct {
    const char *name;
    void (*run)(void);
    bool needs_root;
} topics[] = {
    {"open", topic_open, false},       {"names", topic_names, false},
    {"links", topic_links, false},     {"permissions", topic_permissions, true},
    {"owners", topic_owners, true},    {"rename", topic_rename, false},
    {"times", topic_times, false},     {"data", topic_data, false},
    {"holes", topic_holes, false},     {"processes", topic_processes, false},
    {"locks", topic_locks, false},     {"xattr", topic_xattr, false},
    {"acl", topic_acl, false},         {"folders", topic_folders, false},
    {"special", topic_special, false},
};

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
            printf("%s%s\n", topics[i].name, topics[i].needs_root ? " root" : "");
        return 0;
    }
    if (argc != 3) {
        fprintf(stderr, "usage: posix_suite DIR TOPIC\n");
        return 2;
    }
    suite_is_root = geteuid() == 0;
    umask(0);
    alarm(100); /* nothing here waits for long */
    signal(SIGPIPE, SIG_IGN);
    if (chdir(argv[1]) != 0 || mkdir(argv[2], 0755) != 0 || chdir(argv[2]) != 0) {
        perror(argv[1]);
        return 2;
    }
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        if (strcmp(topics[i].name, argv[2]) == 0) {
            topics[i].run();
            log_line("end");
            return 0;
        }
    }
    fprintf(stderr, "posix_suite: no topic %s\n", argv[2]);
    return 2;
}
