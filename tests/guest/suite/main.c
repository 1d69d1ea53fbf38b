/* Runs the checks of the groups named on the command line and prints TAP. See suite.h. */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COPY          "/guest-suite-copy"
#define CHECK_SECONDS 240 /* longest time that one check may take */

static const struct check *const all_checks[] = {file_checks, mapping_checks, name_checks, window_checks,
                                                 share_checks};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Runs one check in a process of its own, in the share, and returns its status as waitpid gives it. */
static int run_check(const struct check *check, const char *share)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(CHECK_SECONDS);
        require(chdir(share) == 0, "%s: %m", share);
        check->run();
        fflush(stdout);
        _exit(0);
    }
    int status = 1 << 8;
    if (child < 0)
        printf("# fork: %s\n", strerror(errno));
    else
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
    return status;
}

static bool report(const struct check *check, int number, int status, double seconds)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        printf("ok %d - %s # SKIP\n", number, check->name); /* skip() has printed the reason */
        return true;
    }
    if (WIFSIGNALED(status))
        printf("# ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    printf("# %.2f s\n%s %d - %s\n", seconds, good ? "ok" : "not ok", number, check->name);
    fflush(stdout);
    return good;
}

/* `word` is GROUP, or GROUP=TEXT for those checks of it that have TEXT in their names. */
static bool is_wanted(const struct check *check, const char *word)
{
    size_t len = strcspn(word, "=");
    return strncmp(check->group, word, len) == 0 && check->group[len] == '\0' &&
           (word[len] == '\0' || strstr(check->name, word + len + 1) != NULL);
}

/* The share must not be busy with our own program when it is unmounted: go on from a copy in the guest's RAM.
 */
static void move_off_share(char **argv)
{
    if (strcmp(argv[0], COPY) == 0)
        return;
    char buffer[65536];
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open(COPY, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    ssize_t n = -1;
    while (from >= 0 && to >= 0 && (n = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, (size_t)n) != n) {
            n = -1;
            break;
        }
    if (n != 0 || close(to) != 0 || close(from) != 0)
        return; /* only the check of umount suffers */
    argv[0] = (char[]){COPY};
    execv(COPY, argv);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--forty-two") == 0) /* what the check of exec runs */
        return 42;
    if (argc == 5 && strcmp(argv[1], "--make") == 0) { /* the host's files: --make NAME LENGTH SEED */
        close(new_file(argv[2], strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0)));
        return 0;
    }
    if (argc < 2) {
        fprintf(stderr, "usage: guest_suite GROUP[=TEXT]... | --make NAME LENGTH SEED\n");
        return 2;
    }
    struct statfs root;
    if (statfs("/", &root) == 0 && (root.f_type == TMPFS_MAGIC || root.f_type == RAMFS_MAGIC))
        move_off_share(argv);

    /* Nothing but the checks may keep the share busy. */
    char share[PATH_MAX];
    if (getcwd(share, sizeof share) == NULL || chdir("/") != 0) {
        perror("guest_suite");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    int number = 0, bad = 0;
    for (int i = 1; i < argc; i++)
        for (size_t list = 0; list < sizeof all_checks / sizeof *all_checks; list++)
            for (const struct check *check = all_checks[list]; check->name; check++) {
                if (!is_wanted(check, argv[i]))
                    continue;
                double start = now();
                int status = run_check(check, share);
                if (!report(check, ++number, status, now() - start))
                    bad = 1;
            }
    printf("1..%d\n", number);
    return bad;
}
