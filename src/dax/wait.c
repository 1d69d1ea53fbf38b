#include "dax/wait.h"

#if defined(__linux__)

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t *low_half(_Atomic uint64_t *word)
{
    uint32_t *halves = (uint32_t *)(uintptr_t)word;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    halves++;
#endif
    return halves;
}

void wait_while(_Atomic uint64_t *word, uint64_t seen)
{
    syscall(SYS_futex, low_half(word), FUTEX_WAIT_PRIVATE, (uint32_t)seen, NULL, NULL, 0);
}

void wake_all(_Atomic uint64_t *word)
{
    syscall(SYS_futex, low_half(word), FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#elif defined(__APPLE__)

/* The system's own primitive below its locks; os_sync_wait_on_address() wraps it from macOS 14.4 on. */
int __ulock_wait(uint32_t operation, void *addr, uint64_t value, uint32_t timeout);
int __ulock_wake(uint32_t operation, void *addr, uint64_t wake_value);
#define COMPARE_AND_WAIT UINT32_C(1)
#define WAKE_ALL         UINT32_C(0x100)

void wait_while(_Atomic uint64_t *word, uint64_t seen)
{
    __ulock_wait(COMPARE_AND_WAIT, (void *)(uintptr_t)word, (uint32_t)seen, 0);
}

void wake_all(_Atomic uint64_t *word)
{
    __ulock_wake(COMPARE_AND_WAIT | WAKE_ALL, (void *)(uintptr_t)word, 0);
}

#else
#error "no way to sleep on an address is known for this system"
#endif
