/*
 * `oriel serve` against QEMU's virtiofsd, over the socket, in turn in one run, with the same pinning. The
 * client is a driver like a guest's: it sleeps on the call descriptor and kicks only when it is asked to.
 *
 * usage: bench_serve ORIEL VIRTIOFSD [--rounds N] [--only TEXT] [--depth N] [--place shared|split]
 *                    [--two-queues yes] [--walk FILES] [--folder DIR] [-- OPTION-OF-ORIEL...]
 *
 * --folder: where the tree is made, instead of /dev/shm. A tmpfs keeps every inode in memory, so what a walk makes the
 * kernel keep shows on a disk only.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_serve.h"

#define ROUND_NS   (60u * 1000 * 1000)
#define FLOOR_NS   (20u * 1000 * 1000)
#define ROUNDS_MAX 31

struct server {
    const char *name, *binary;
    bool is_oriel;
    const char *pool; /* --thread-pool-size of virtiofsd, or NULL */
    char *const *extra;
    pid_t pid;
    char socket[272];
    struct driver driver;
};

static char folder[256], share[272];
static const char *only = "", *only_place = "";
static unsigned only_depth, rounds = 5, queues = 1;
static bool two_queues;

/* ---- the servers ---- */

static void pin(pid_t pid, int core)
{
    cpu_set_t set;
    if (core < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    sched_setaffinity(pid, sizeof(set), &set);
}

static void exec_server(const struct server *server, int core)
{
    char source[304], socket[304], shared[304], pool[64];
    const char *argv[32];
    int n = 0;
    pin(0, core);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(socket, sizeof(socket), "--socket-path=%s", server->socket);
    snprintf(source, sizeof(source), "source=%s,xattr", share);
    snprintf(shared, sizeof(shared), "--shared-dir=%s", share);
    argv[n++] = server->binary;
    if (server->is_oriel) {
        argv[n++] = "serve";
        argv[n++] = shared;
        argv[n++] = "--xattr";
        argv[n++] = "--log-level=off";
        for (char *const *e = server->extra; e != NULL && *e != NULL && n < 24; e++)
            argv[n++] = *e;
    } else {
        argv[n++] = "-o";
        argv[n++] = source;
        argv[n++] = "-f";
        argv[n++] = "--rlimit-nofile=1040000"; /* a descriptor for each inode of --walk */
        if (server->pool != NULL) {
            /* Without it the pool's first malloc() dies of seccomp. */
            setenv("MALLOC_ARENA_MAX", "4", 1);
            snprintf(pool, sizeof(pool), "--thread-pool-size=%s", server->pool);
            argv[n++] = pool;
        }
    }
    argv[n++] = socket;
    argv[n] = NULL;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDERR_FILENO);
    execv(server->binary, (char **)(uintptr_t)argv);
    _exit(127);
}

static bool start(struct server *server, int core, int number)
{
    struct stat st;
    snprintf(server->socket, sizeof(server->socket), "%s/s%d", folder, number);
    server->pid = fork();
    if (server->pid == 0)
        exec_server(server, core);
    for (int i = 0; i < 1000 && stat(server->socket, &st) != 0; i++)
        usleep(5000);
    bool ok = driver_connect(&server->driver, server->socket, server->is_oriel ? queues : 1);
    server->driver.mark = (char)('a' + number % 26); /* its own in each place */
    return ok;
}

static void stop(struct server *server)
{
    fe_close(&server->driver.fe);
    for (int i = 0; i < 400; i++) {
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
            return;
        usleep(5000);
    }
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
}

/* The process that serves: both fork into their namespaces. */
static pid_t serving_pid(pid_t pid)
{
    char path[64];
    int child;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *f = fopen(path, "r");
    bool found = f != NULL && fscanf(f, "%d", &child) == 1;
    if (f != NULL)
        fclose(f);
    return found ? child : pid;
}

/* Processor time of all threads, nanoseconds. */
static uint64_t cpu_ns(pid_t pid)
{
    char path[320];
    uint64_t sum = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        unsigned long long ns;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, e->d_name);
        FILE *f = e->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (f != NULL && fscanf(f, "%llu", &ns) == 1)
            sum += ns;
        if (f != NULL)
            fclose(f);
    }
    if (dir != NULL)
        closedir(dir);
    return sum;
}

/* ---- measuring ---- */

struct result {
    double ns[ROUNDS_MAX], cpu[ROUNDS_MAX];
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const double *values, unsigned count)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), by_value);
    return sorted[count / 2];
}

static double median_ratio(const double *over, const double *under, unsigned count)
{
    double ratios[ROUNDS_MAX];
    for (unsigned i = 0; i < count; i++)
        ratios[i] = under[i] > 0 ? over[i] / under[i] : 0;
    return median(ratios, count);
}

static bool measure(struct server *server, const struct workload *workload, unsigned depth,
                    struct result *result, unsigned round)
{
    pid_t pid = serving_pid(server->pid);
    uint64_t cpu = cpu_ns(pid);
    result->ns[round] = driver_run(&server->driver, workload, depth, ROUND_NS);
    result->cpu[round] = (double)(cpu_ns(pid) - cpu) / (double)server->driver.operations;
    return result->ns[round] > 0;
}

static double floor_ns(const struct workload *workload, int tree)
{
    uint64_t begin = now_ns(), i = 0;
    do {
        for (int j = 0; j < 16; j++)
            workload->floor(tree, i++);
    } while (now_ns() - begin < FLOOR_NS);
    return (double)(now_ns() - begin) / (double)i;
}

/* What waking each other costs at each depth, with GETATTR requests that nobody looks at. */
static void measure_echo(int core)
{
    static struct driver driver;
    const unsigned depths[] = {1, 16, 64};
    double ns[ROUNDS_MAX], cpu[ROUNDS_MAX];
    pid_t pid;
    if (!echo_start(&driver, &pid, core))
        return;
    printf("A server that answers without looking (the rings and two wake-ups):\n");
    for (size_t i = 0; i < 3; i++) {
        for (unsigned round = 0; round < rounds; round++) {
            uint64_t before = cpu_ns(pid);
            ns[round] = driver_run(&driver, &workloads[0], depths[i], ROUND_NS);
            cpu[round] = (double)(cpu_ns(pid) - before) / (double)driver.operations;
        }
        printf("%-32s %5u %10s %10.0f %28s %7.0f\n", "empty answer", depths[i], "", median(ns, rounds), "",
               median(cpu, rounds));
    }
    echo_stop(&driver, pid);
}

static void measure_row(struct server *servers, size_t count, const struct workload *workload, unsigned depth,
                        int tree)
{
    struct result results[3] = {0};
    double floors[ROUNDS_MAX];
    for (unsigned round = 0; round < rounds; round++) {
        floors[round] = floor_ns(workload, tree);
        for (size_t i = 0; i < count; i++) {
            if (!measure(&servers[i], workload, depth, &results[i], round)) {
                printf("%-32s %5u  %s gave no answer\n", workload->name, depth, servers[i].name);
                return;
            }
        }
    }
    /* The better of the control's two ways. */
    size_t best = count > 2 && median(results[2].ns, rounds) < median(results[1].ns, rounds) ? 2 : 1;
    double ratio = median_ratio(results[best].ns, results[0].ns, rounds);
    printf("%-32s %5u %10.0f %10.0f %10.0f  %5.2f %s %7.0f %7.0f %6.2f  %s\n", workload->name, depth,
           median(floors, rounds), median(results[0].ns, rounds), median(results[best].ns, rounds), ratio,
           ratio >= workload->goal ? "ok  " : "MISS", median(results[0].cpu, rounds),
           median(results[best].cpu, rounds), median_ratio(results[0].cpu, results[best].cpu, rounds),
           servers[best].name);
    fflush(stdout);
}

static void measure_place(struct server *servers, size_t count, const char *place, int client_core,
                          int server_core)
{
    const unsigned depths[] = {1, 16, 64};
    pin(0, client_core);
    for (size_t i = 0; i < count; i++) {
        if (!start(&servers[i], server_core, (int)(i + 10 * (size_t)server_core))) {
            fprintf(stderr, "bench_serve: %s cannot be started\n", servers[i].name);
            exit(1);
        }
    }
    int tree = floor_open(share);
    printf("\nClient and server %s, one queue. Nanoseconds; cpu: processor time of the server.\n", place);
    printf("%-32s %5s %10s %10s %10s  %5s      %7s %7s %6s  %s\n", "one operation", "depth", "floor", "oriel",
           "virtiofsd", "ratio", "cpu", "cpu", "ratio", "virtiofsd was");
    measure_echo(server_core);
    for (size_t i = 0; i < workload_count; i++) {
        if (strstr(workloads[i].name, only) == NULL)
            continue;
        for (size_t j = 0; j < 3; j++) {
            if (only_depth == 0 || only_depth == depths[j])
                measure_row(servers, count, &workloads[i], depths[j], tree);
        }
    }
    for (size_t i = 0; i < count; i++)
        stop(&servers[i]);
    close(tree);
}

/* ---- after a walk over many files ---- */

static void make_many(unsigned long files)
{
    char name[64];
    int root = open(share, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned long i = 0; i < files; i++) {
        snprintf(name, sizeof(name), "many%lu", i / 10000);
        if (i % 10000 == 0)
            mkdirat(root, name, 0755);
        snprintf(name, sizeof(name), "many%lu/f%lu", i / 10000, i % 10000);
        close(openat(root, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    }
    close(root);
}

static unsigned long kib_in(const char *path, const char *key)
{
    char line[256];
    unsigned long value = 0;
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0)
            sscanf(line + strlen(key), "%lu", &value);
    }
    if (f != NULL)
        fclose(f);
    return value;
}

static unsigned long status_kib(pid_t pid, const char *key)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    return kib_in(path, key);
}

/* What the kernel can't let go: open files, and the inodes and names that they hold on to. */
static unsigned long kernel_kib(void)
{
    sync();
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < 3; i++) {
        if (write(fd, "2", 1) != 1)
            perror("bench_serve: drop_caches");
        usleep(100000);
    }
    close(fd);
    return kib_in("/proc/meminfo", "Slab:");
}

static unsigned long open_fds(pid_t pid)
{
    char path[64];
    unsigned long count = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    while (dir != NULL && readdir(dir) != NULL)
        count++;
    if (dir != NULL)
        closedir(dir);
    return count;
}

/* Looks every file up and keeps it, as a guest with a large dentry cache does; then forgets all in batches.
 */
static void walk(struct server *server, unsigned long files)
{
    struct driver *d = &server->driver;
    pid_t pid = serving_pid(server->pid);
    unsigned long kernel_before = kernel_kib(), rss_before = status_kib(pid, "RssAnon:");
    uint64_t *nodes = calloc(files, sizeof(*nodes)), begin = now_ns();
    uint64_t parent = 0;
    char name[64];
    struct fuse_entry_out entry;
    unsigned long found = 0;
    for (unsigned long i = 0; i < files; i++) {
        snprintf(name, sizeof(name), "many%lu", i / 10000);
        if (i % 10000 == 0 &&
            driver_call(d, FUSE_LOOKUP, FUSE_ROOT_ID, name, strlen(name) + 1, &entry, sizeof(entry)) == 0)
            parent = entry.nodeid;
        snprintf(name, sizeof(name), "f%lu", i % 10000);
        if (driver_call(d, FUSE_LOOKUP, parent, name, strlen(name) + 1, &entry, sizeof(entry)) == 0)
            nodes[found++] = entry.nodeid;
    }
    double walked = (double)(now_ns() - begin) / (double)files;
    unsigned long rss = status_kib(pid, "RssAnon:"), fds = open_fds(pid);
    long kernel = (long)kernel_kib() - (long)kernel_before;
    struct {
        struct fuse_batch_forget_in head;
        struct fuse_forget_one one[1000];
    } batch;
    begin = now_ns();
    for (unsigned long i = 0; i < found; i += 1000) {
        unsigned long n = found - i < 1000 ? found - i : 1000;
        batch.head = (struct fuse_batch_forget_in){.count = (uint32_t)n};
        for (unsigned long j = 0; j < n; j++)
            batch.one[j] = (struct fuse_forget_one){.nodeid = nodes[i + j], .nlookup = 1};
        struct fe_queue *queue = &d->fe.queues[0];
        size_t used_before = d->fe.memory_used;
        char *request = fe_alloc(&d->fe, sizeof(struct fuse_in_header) + sizeof(batch), 64);
        struct fuse_in_header header = {.len = (uint32_t)(sizeof(header) + 8 + n * 16),
                                        .opcode = FUSE_BATCH_FORGET};
        memcpy(request, &header, sizeof(header));
        memcpy(request + sizeof(header), &batch, 8 + n * 16);
        struct fe_buffer buffer = {.gpa = fe_gpa(&d->fe, request), .len = header.len};
        struct vring_used_elem used;
        fe_add(&d->fe, queue, &buffer, 1);
        if (fe_publish(queue))
            fe_kick(queue);
        fe_wait_used(queue, &used, 60000);
        d->fe.memory_used = used_before;
    }
    double forgot = (double)(now_ns() - begin) / (double)(found != 0 ? found : 1);
    double each = ((double)(rss - rss_before) + (double)kernel) * 1024 / (double)(found != 0 ? found : 1);
    printf("%-14s found %lu  LOOKUP %7.0f ns  resident %7lu KiB (%lu before)  in the kernel %7ld KiB  = "
           "%5.0f bytes an "
           "inode  descriptors %7lu  BATCH_FORGET %6.0f ns an inode\n",
           server->name, found, walked, rss, rss_before, kernel, each, fds, forgot);
    fflush(stdout);
    free(nodes);
}

static void measure_walk(struct server *servers, unsigned long files)
{
    make_many(files);
    printf("\nAfter a walk over %lu files that the guest keeps:\n", files);
    for (size_t i = 0; i < 2; i++) {
        pin(0, 0);
        if (start(&servers[i], 0, (int)(100 + i)))
            walk(&servers[i], files);
        stop(&servers[i]);
    }
}

static void measure_two_queues(struct server *server)
{
    queues = 2;
    if (!start(server, -1, 200) || !measure_queues(&server->driver, rounds))
        fprintf(stderr, "bench_serve: %s cannot be started\n", server->name);
    stop(server);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void clean_up(void)
{
    if (share[0] != '\0')
        nftw(folder, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

int main(int argc, char **argv)
{
    unsigned long walk_files = 0;
    const char *where = "/dev/shm";
    char *const *extra = NULL;
    if (argc < 3) {
        fprintf(stderr, "usage: %s ORIEL VIRTIOFSD [option...]\n", argv[0]);
        return 2;
    }
    for (int i = 3; i < argc; i += 2) {
        if (strcmp(argv[i], "--") == 0) {
            extra = &argv[i + 1];
            break;
        }
        if (i + 1 == argc)
            return 2;
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = (unsigned)atoi(value);
        else if (strcmp(argv[i], "--only") == 0)
            only = value;
        else if (strcmp(argv[i], "--depth") == 0)
            only_depth = (unsigned)atoi(value);
        else if (strcmp(argv[i], "--place") == 0)
            only_place = value;
        else if (strcmp(argv[i], "--two-queues") == 0)
            two_queues = strcmp(value, "yes") == 0;
        else if (strcmp(argv[i], "--walk") == 0)
            walk_files = strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--folder") == 0)
            where = value;
    }
    if (rounds == 0 || rounds > ROUNDS_MAX)
        rounds = 5;
    snprintf(folder, sizeof(folder), "%.200s/oriel-serve-bench-XXXXXX", where);
    if (mkdtemp(folder) == NULL) {
        perror(where);
        return 1;
    }
    snprintf(share, sizeof(share), "%s/share", folder);
    mkdir(share, 0755);
    atexit(clean_up);
    make_tree(share);
    static struct server servers[3];
    servers[0] = (struct server){.name = "oriel", .binary = argv[1], .is_oriel = true, .extra = extra};
    servers[1] = (struct server){.name = "without pool", .binary = argv[2]};
    servers[2] = (struct server){.name = "pool of 64", .binary = argv[2], .pool = "64"};
    if (walk_files != 0) {
        measure_walk(servers, walk_files);
        return 0;
    }
    if (two_queues) {
        measure_two_queues(&servers[0]);
        return 0;
    }
    if (strcmp(only_place, "split") != 0)
        measure_place(servers, 3, "on one core", 0, 0);
    if (strcmp(only_place, "shared") != 0)
        measure_place(servers, 3, "on one core each", 0, 1);
    return 0;
}
