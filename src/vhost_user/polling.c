#include "vhost_user/polling.h"

#define CREDIT_MAX   8    /* a steady stream may pause this often without a return to sleeping */
#define CREDIT_TRIAL 2    /* so many misses end a trial */
#define SLEEP_SHORT  4    /* longest polls: a short sleep has its wake-up in it */
#define PATIENCE_MIN 16   /* short sleeps before the first trial */
#define PATIENCE_MAX 8192 /* a failed trial then costs about a thousandth of a poll each request */

void polling_init(struct polling *polling, enum oriel_poll_mode mode, uint32_t max_ns)
{
    *polling = (struct polling){.mode = mode, .max_ns = max_ns, .patience = PATIENCE_MIN};
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
        polling->patience = PATIENCE_MIN;
}

void polling_miss(struct polling *polling)
{
    if (polling->credit == 0)
        return;
    if (--polling->credit == 0 && polling->patience < PATIENCE_MAX)
        polling->patience *= 2;
}

void polling_slept(struct polling *polling, uint32_t count, uint64_t ns)
{
    if (ns / count / SLEEP_SHORT > polling->max_ns || polling->credit > 0)
        return;
    polling->sleeps += count;
    if (polling->sleeps < polling->patience)
        return;
    polling->sleeps = 0;
    polling->credit = CREDIT_TRIAL;
}
