#include "fuse/lock_wait.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define FIRST_PAUSE_NS   INT64_C(1000000)
#define LONGEST_PAUSE_NS INT64_C(50000000)

struct lock_waiter {
    uint64_t unique;
    bool interrupted;
    struct lock_waiter *next;
};

void lock_wait_init(struct lock_wait *wait, struct gate *gate, uint32_t max_waiting)
{
    wait->gate = gate;
    wait->max_waiting = max_waiting;
    pthread_mutex_init(&wait->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&wait->changed, &attr);
    pthread_condattr_destroy(&attr);
}

void lock_wait_destroy(struct lock_wait *wait)
{
    pthread_cond_destroy(&wait->changed);
    pthread_mutex_destroy(&wait->lock);
}

/* ---- under the lock ---- */

static bool take_early(struct lock_wait *wait, uint64_t unique)
{
    for (unsigned i = 0; i < LOCK_WAIT_EARLY; i++) {
        if (wait->early[i] == unique && unique != 0) {
            wait->early[i] = 0;
            return true;
        }
    }
    return false;
}

static void join(struct lock_wait *wait, struct lock_waiter *waiter)
{
    waiter->interrupted = take_early(wait, waiter->unique);
    waiter->next = wait->waiters;
    wait->waiters = waiter;
    wait->waiting++;
    atomic_store(&wait->waiting_hint, wait->waiting);
}

static void part(struct lock_wait *wait, struct lock_waiter *waiter)
{
    struct lock_waiter **link = &wait->waiters;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
    wait->waiting--;
    atomic_store(&wait->waiting_hint, wait->waiting);
}

static void pause_for(struct lock_wait *wait, const struct lock_waiter *waiter, uint64_t seen, int64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t sum = until.tv_nsec + ns;
    until.tv_sec += sum / 1000000000;
    until.tv_nsec = sum % 1000000000;
    int rc = 0;
    while (rc == 0 && wait->released == seen && !waiter->interrupted && !fuse_gate_is_closed(wait->gate))
        rc = pthread_cond_timedwait(&wait->changed, &wait->lock, &until);
}

static int wait_locked(struct lock_wait *wait, struct lock_waiter *waiter, int (*attempt)(void *), void *arg)
{
    for (int64_t pause = FIRST_PAUSE_NS;;
         pause = pause * 2 < LONGEST_PAUSE_NS ? pause * 2 : LONGEST_PAUSE_NS) {
        if (waiter->interrupted || fuse_gate_is_closed(wait->gate))
            return -EINTR;
        uint64_t seen = wait->released;
        pthread_mutex_unlock(&wait->lock);
        int rc = attempt(arg);
        pthread_mutex_lock(&wait->lock);
        if (rc != -EAGAIN)
            return rc;
        pause_for(wait, waiter, seen, pause);
    }
}

int lock_wait_for(struct lock_wait *wait, uint64_t unique, int (*attempt)(void *arg), void *arg)
{
    int rc = attempt(arg);
    if (rc != -EAGAIN)
        return rc;
    struct lock_waiter waiter = {.unique = unique};
    pthread_mutex_lock(&wait->lock);
    if (wait->waiting < wait->max_waiting) {
        join(wait, &waiter);
        rc = wait_locked(wait, &waiter, attempt, arg);
        part(wait, &waiter);
    } else {
        rc = -ENOLCK;
    }
    pthread_mutex_unlock(&wait->lock);
    return rc;
}

void lock_wait_released(struct lock_wait *wait)
{
    if (atomic_load(&wait->waiting_hint) == 0)
        return;
    pthread_mutex_lock(&wait->lock);
    wait->released++;
    pthread_cond_broadcast(&wait->changed);
    pthread_mutex_unlock(&wait->lock);
}

static struct lock_waiter *find(struct lock_wait *wait, uint64_t unique)
{
    struct lock_waiter *waiter = wait->waiters;
    while (waiter != NULL && waiter->unique != unique)
        waiter = waiter->next;
    return waiter;
}

void lock_wait_interrupt(struct lock_wait *wait, uint64_t unique)
{
    pthread_mutex_lock(&wait->lock);
    struct lock_waiter *waiter = find(wait, unique);
    if (waiter != NULL)
        waiter->interrupted = true;
    else
        wait->early[wait->early_next++ % LOCK_WAIT_EARLY] = unique;
    pthread_cond_broadcast(&wait->changed);
    pthread_mutex_unlock(&wait->lock);
}

void lock_wait_interrupt_all(struct lock_wait *wait)
{
    pthread_mutex_lock(&wait->lock);
    for (struct lock_waiter *waiter = wait->waiters; waiter != NULL; waiter = waiter->next)
        waiter->interrupted = true;
    pthread_cond_broadcast(&wait->changed);
    pthread_mutex_unlock(&wait->lock);
}

void lock_wait_reset(struct lock_wait *wait)
{
    pthread_mutex_lock(&wait->lock);
    memset(wait->early, 0, sizeof(wait->early));
    pthread_mutex_unlock(&wait->lock);
}
