/*
 * What every bench shares: time, medians and percentiles over rounds, and one way to print a result beside its
 * floor (the bare system calls, or the bare copy, that do the same; measured in the same run).
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BENCH_ROUNDS 9

/* Keeps the compiler from dropping a value or moving work over this point. */
#define BENCH_KEEP(value) __asm__ volatile("" : : "r"(value) : "memory")

static inline uint64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/*
 * Processor time of this thread, for work that makes no system call and waits for nobody: what else runs on the
 * machine hardly shows in it.
 */
static inline uint64_t bench_cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value below which `percent` of the samples lie; sorts the samples. */
static inline double bench_percentile(double *samples, size_t count, double percent)
{
    qsort(samples, count, sizeof(*samples), bench_compare);
    size_t at = (size_t)((double)(count - 1) * percent / 100 + 0.5);
    return samples[at < count ? at : count - 1];
}

static inline double bench_median(double *samples, size_t count)
{
    return bench_percentile(samples, count, 50);
}

/* The median over BENCH_ROUNDS of what `measure` returns (after one round that warms up). */
static inline double bench_rounds(double (*measure)(void *), void *arg)
{
    double samples[BENCH_ROUNDS];
    measure(arg);
    for (int i = 0; i < BENCH_ROUNDS; i++)
        samples[i] = measure(arg);
    return bench_median(samples, BENCH_ROUNDS);
}

/*
 * Two things measured turn and turn about, so that a change of the machine's mood hits both. Medians in *a, *b.
 */
static inline void bench_against(double (*measure_a)(void *), void *arg_a, double (*measure_b)(void *),
                                 void *arg_b, double *a, double *b)
{
    double as[BENCH_ROUNDS], bs[BENCH_ROUNDS];
    measure_a(arg_a);
    measure_b(arg_b);
    for (int i = 0; i < BENCH_ROUNDS; i++) {
        as[i] = measure_a(arg_a);
        bs[i] = measure_b(arg_b);
    }
    *a = bench_median(as, BENCH_ROUNDS);
    *b = bench_median(bs, BENCH_ROUNDS);
}

static inline void bench_title(const char *title)
{
    printf("\n%s\n%-58s %12s %12s %8s  %s\n", title, "what", "ours", "floor", "ratio", "goal");
}

/* One row: ours beside its floor, and the goal in words. */
static inline void bench_row(const char *what, double ours, double floor, const char *unit, const char *goal)
{
    printf("%-58s %9.1f %s %9.1f %s %7.2fx  %s\n", what, ours, unit, floor, unit,
           floor > 0 ? ours / floor : 0, goal);
    fflush(stdout);
}

/* One row that is held against a number, not against a floor. */
static inline void bench_value(const char *what, double ours, const char *unit, const char *goal)
{
    printf("%-58s %9.1f %s %12s %8s  %s\n", what, ours, unit, "", "", goal);
    fflush(stdout);
}

#endif
