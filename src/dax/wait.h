/* Sleeping until a 64-bit atomic changes, as the kernel's futex gives it: on its low 32 bits. */
#ifndef ORIEL_DAX_WAIT_H
#define ORIEL_DAX_WAIT_H

#include <stdatomic.h>
#include <stdint.h>

/* Sleeps while the low half of *word is that of `seen`; may return early. */
void wait_while(_Atomic uint64_t *word, uint64_t seen);

/* Wakes everybody who sleeps on the word. */
void wake_all(_Atomic uint64_t *word);

/* A hint to the processor in a short busy loop. */
static inline void wait_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
