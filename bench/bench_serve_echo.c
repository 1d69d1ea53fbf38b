/*
 * The floor of every row of bench_serve: a server that answers without looking. What is left is two rings, two event
 * descriptors and two processes that wake each other, in the way that measures best (an edge-triggered epoll).
 */
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_serve.h"

static void *at(const struct driver *driver, uint64_t gpa)
{
    return driver->fe.memory + (gpa - FE_GPA);
}

/* Answers what is there. Returns the number of requests. */
static unsigned answer(const struct driver *driver, const struct fe_queue *queue, uint16_t *index)
{
    uint16_t end = __atomic_load_n(&queue->avail->idx, __ATOMIC_ACQUIRE), begin = *index;
    for (; *index != end; ++*index) {
        uint16_t head = queue->avail->ring[*index % queue->size];
        const struct vring_desc *request = &queue->desc[head], *reply = &queue->desc[request->next];
        const struct fuse_in_header *in = at(driver, request->addr);
        struct fuse_out_header *out = at(driver, reply->addr);
        *out = (struct fuse_out_header){.len = sizeof(*out), .unique = in->unique};
        queue->used->ring[*index % queue->size] = (struct vring_used_elem){.id = head, .len = sizeof(*out)};
    }
    if (end == begin)
        return 0;
    __atomic_store_n(&queue->used->idx, end, __ATOMIC_SEQ_CST);
    uint16_t event = __atomic_load_n(&queue->avail->ring[queue->size], __ATOMIC_SEQ_CST);
    if ((uint16_t)(end - event - 1) < (uint16_t)(end - begin))
        eventfd_write(queue->call, 1);
    return (uint16_t)(end - begin);
}

static void serve(const struct driver *driver, const struct fe_queue *queue)
{
    uint16_t index = 0, *avail_event = (uint16_t *)(void *)&queue->used->ring[queue->size];
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, queue->kick, &event);
    for (;;) {
        while (answer(driver, queue, &index) != 0)
            ;
        __atomic_store_n(avail_event, index, __ATOMIC_SEQ_CST);
        if (answer(driver, queue, &index) == 0)
            epoll_wait(epoll, &event, 1, -1);
    }
}

bool echo_start(struct driver *driver, pid_t *pid, int core)
{
    struct fe_queue *queue = &driver->fe.queues[1];
    if (!driver_connect_to_echo(driver))
        return false;
    *pid = fork();
    if (*pid == 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(core, &set);
        sched_setaffinity(0, sizeof(set), &set);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(driver, queue);
    }
    return *pid > 0;
}

void echo_stop(struct driver *driver, pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    fe_close(&driver->fe);
}
