#include "vhost_user/polling.h"

#define CREDIT_MAX   8   /* a steady stream may pause this often without a return to sleeping */
#define CREDIT_TRIAL 2   /* so many misses end a trial */
#define PATIENCE_MIN 2   /* in longest polls: how long short sleeps go on before the first trial */
#define PATIENCE_MAX 160 /* a failed trial, of two polls, then costs about a hundredth of the time */

static uint64_t longest_polls(const struct polling *polling, unsigned count)
{
    return (uint64_t)count * polling->max_ns;
}

void polling_init(struct polling *polling, enum oriel_poll_mode mode, uint32_t max_ns)
{
    *polling = (struct polling){.mode = mode, .max_ns = max_ns};
    polling->patience_ns = longest_polls(polling, PATIENCE_MIN);
}

uint32_t polling_budget(const struct polling *polling)
{
    switch (polling->mode) {
    case ORIEL_POLL_ON:
        return polling->max_ns;
    case ORIEL_POLL_AUTO:
        return polling->credit > 0 ? polling->max_ns : 0;
    case ORIEL_POLL_OFF:
        break;
    }
    return 0;
}

void polling_hit(struct polling *polling)
{
    if (polling->credit < CREDIT_MAX)
        polling->credit++;
    else
        polling->patience_ns = longest_polls(polling, PATIENCE_MIN);
}

void polling_miss(struct polling *polling)
{
    if (polling->credit == 0)
        return;
    if (--polling->credit == 0 && polling->patience_ns < longest_polls(polling, PATIENCE_MAX))
        polling->patience_ns *= 2;
}

void polling_slept(struct polling *polling, uint32_t count, uint64_t ns)
{
    if (ns > polling->max_ns || polling->credit > 0)
        return;
    polling->slept_ns += count * ns;
    if (polling->slept_ns < polling->patience_ns)
        return;
    polling->slept_ns = 0;
    polling->credit = CREDIT_TRIAL;
}
