/*
 * The host's end of the guest's console: standard output takes what the guest prints, a thread feeds it
 * standard input.
 *
 * With a terminal on both sides the host's terminal is raw, every key goes to the guest, and Ctrl-A x ends
 * the machine (Ctrl-A Ctrl-A sends one Ctrl-A). Else input is a byte stream with an end, and the terminal is
 * left alone.
 */
#ifndef ORIEL_MICROVM_CONSOLE_H
#define ORIEL_MICROVM_CONSOLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include "microvm/panic_watch.h"
#include "microvm/serial.h"
#include "microvm/stdin_encoder.h"
#include "microvm/vm_error.h"

enum console_input {
    CONSOLE_INPUT_NULL, /* standard input is /dev/null or closed */
    CONSOLE_INPUT_STREAM,
    CONSOLE_INPUT_TERMINAL,
};

struct console {
    enum console_input input;
    struct serial *serial;
    bool (*stopping)(void *opaque); /* the machine stops: drop output that cannot be written */
    void (*quit)(void *opaque);     /* Ctrl-A x */
    void *opaque;
    struct termios saved;
    bool is_raw, escape;
    struct stdin_encoder encoder;
    struct panic_watch panic;
    pthread_t thread;
    bool thread_started;
    int ready_fd; /* eventfd: the guest takes input again, or the console is to close */
    atomic_bool closing;
};

/* Looks at the standard streams; changes nothing yet. */
int console_init(struct console *console, struct vm_error *error);

/* Makes the terminal raw where that is called for and starts feeding `serial`. */
int console_start(struct console *console, struct serial *serial, struct vm_error *error);

/* Ends the thread and restores the terminal; may be called twice, and without a start. */
void console_stop(struct console *console);
void console_destroy(struct console *console);

/* For the machine. */
void console_output(struct console *console, const uint8_t *data, size_t len);
void console_ready(struct console *console);

#endif
