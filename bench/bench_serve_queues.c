/* Two request queues, each with a driver of its own, against one: what a guest with two processors gets from them. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "bench_serve.h"

#define RUN_NS (100u * 1000 * 1000)

static const char *const chosen[] = {"GETATTR",    "STATFS",      "LOOKUP known",
                                     "READ 4 KiB", "WRITE 4 KiB", "READ 128 KiB"};

struct runner {
    struct driver *driver;
    const struct workload *workload;
    unsigned depth;
    double ns;
};

static void *run(void *arg)
{
    struct runner *runner = arg;
    runner->ns = driver_run(runner->driver, runner->workload, runner->depth, RUN_NS);
    return NULL;
}

/* Operations a second of both together. */
static double together(struct runner runners[2])
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, &runners[1]) != 0)
        return 0;
    run(&runners[0]);
    pthread_join(thread, NULL);
    return 1e9 / runners[0].ns + 1e9 / runners[1].ns;
}

static void measure_row(struct driver drivers[2], const struct workload *workload, unsigned depth,
                        unsigned rounds)
{
    double one = 0, two = 0;
    for (unsigned round = 0; round < rounds; round++) {
        struct runner runners[2] = {{&drivers[0], workload, depth, 0}, {&drivers[1], workload, depth, 0}};
        run(&runners[0]);
        one += 1e9 / runners[0].ns / rounds;
        two += together(runners) / rounds;
    }
    printf("%-32s %5u %12.0f %12.0f  %5.2f\n", workload->name, depth, one, two, two / one);
    fflush(stdout);
}

bool measure_queues(struct driver *first, unsigned rounds)
{
    static struct driver drivers[2];
    drivers[0] = *first;
    if (!driver_second(&drivers[1], &drivers[0]))
        return false;
    printf("\nTwo queues and two drivers against one of each, nothing pinned. Operations a second.\n");
    printf("%-32s %5s %12s %12s  %5s\n", "one operation", "depth", "one queue", "two queues", "ratio");
    for (size_t i = 0; i < workload_count; i++) {
        for (size_t j = 0; j < sizeof(chosen) / sizeof(chosen[0]); j++) {
            if (strcmp(workloads[i].name, chosen[j]) != 0)
                continue;
            measure_row(drivers, &workloads[i], 1, rounds);
            measure_row(drivers, &workloads[i], 16, rounds);
            measure_row(drivers, &workloads[i], 64, rounds);
        }
    }
    *first = drivers[0];
    return true;
}
