#include "microvm/console.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define INPUT_PIECE   512
#define ENDS_SENT     64   /* so many reads of the guest meet the end of input */
#define ESCAPE        0x01 /* Ctrl-A */
#define WRITE_WAIT_MS 100

/* ---- output ---- */

static bool wait_writable(struct console *console)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    poll(&out, 1, WRITE_WAIT_MS);
    return !console->stopping(console->opaque);
}

void console_output(struct console *console, const uint8_t *data, size_t len)
{
    panic_watch_feed(&console->panic, data, len);
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, data, len);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            if (errno == EINTR ? console->stopping(console->opaque) : !wait_writable(console))
                return;
            continue;
        }
        if (n < 0)
            return; /* nobody reads any more: the guest goes on without */
        data += n;
        len -= (size_t)n;
    }
}

void console_ready(struct console *console)
{
    eventfd_write(console->ready_fd, 1);
}

/* ---- input ---- */

static bool is_null_device(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return true;
    return S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static bool owns_terminal(void)
{
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

int console_init(struct console *console, struct vm_error *error)
{
    *console = (struct console){.input = CONSOLE_INPUT_STREAM};
    if (owns_terminal())
        console->input = CONSOLE_INPUT_TERMINAL;
    else if (is_null_device(STDIN_FILENO))
        console->input = CONSOLE_INPUT_NULL;
    console->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (console->ready_fd < 0)
        return vm_fail(error, -errno, "cannot create an eventfd: %s", strerror(errno));
    return 0;
}

static bool closing(const struct console *console)
{
    return atomic_load_explicit(&console->closing, memory_order_acquire);
}

static void wait_ready(struct console *console)
{
    struct pollfd ready = {.fd = console->ready_fd, .events = POLLIN};
    eventfd_t ignored;
    poll(&ready, 1, -1);
    eventfd_read(console->ready_fd, &ignored);
}

/* Gives the guest all of it, as fast as it takes it. False when the console is closing. */
static bool feed(struct console *console, const uint8_t *data, size_t len)
{
    while (len > 0) {
        size_t n = serial_receive(console->serial, data, len);
        data += n;
        len -= n;
        if (closing(console))
            return false;
        if (len > 0 && serial_room(console->serial) == 0)
            wait_ready(console);
    }
    return true;
}

/* Takes our own keys out. Returns what is left, or 0 with a wish to quit passed on. */
static size_t filter_keys(struct console *console, uint8_t *keys, size_t len)
{
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        if (!console->escape && keys[i] == ESCAPE) {
            console->escape = true;
            continue;
        }
        if (console->escape && (keys[i] == 'x' || keys[i] == 'X'))
            console->quit(console->opaque);
        else
            keys[kept++] = keys[i];
        console->escape = false;
    }
    return kept;
}

static bool feed_input(struct console *console, uint8_t *data, size_t len)
{
    uint8_t encoded[2 * INPUT_PIECE + 2];
    _Static_assert(INPUT_PIECE <= STDIN_PIECE_MAX, "the encoded form fits");
    if (console->input == CONSOLE_INPUT_TERMINAL)
        return feed(console, data, filter_keys(console, data, len));
    return feed(console, encoded, stdin_encode(&console->encoder, data, len, encoded));
}

static void feed_end(struct console *console)
{
    uint8_t ends[ENDS_SENT];
    if (console->input == CONSOLE_INPUT_STREAM)
        feed(console, ends, stdin_encode_end(&console->encoder, ends, sizeof(ends)));
}

static void *input_thread(void *opaque)
{
    struct console *console = opaque;
    uint8_t data[INPUT_PIECE];
    pthread_setname_np(pthread_self(), "console");
    for (;;) {
        struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                {.fd = console->ready_fd, .events = POLLIN}};
        poll(fds, 2, -1);
        if (closing(console))
            return NULL;
        if (fds[1].revents != 0) {
            eventfd_t ignored;
            eventfd_read(console->ready_fd, &ignored);
        }
        if (fds[0].revents == 0)
            continue;
        ssize_t n = read(STDIN_FILENO, data, sizeof(data));
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0) {
            feed_end(console);
            return NULL;
        }
        if (!feed_input(console, data, (size_t)n))
            return NULL;
    }
}

static int make_raw(struct console *console, struct vm_error *error)
{
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &console->saved) != 0)
        return vm_fail(error, -errno, "cannot read the terminal's settings: %s", strerror(errno));
    raw = console->saved;
    cfmakeraw(&raw);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0)
        return vm_fail(error, -errno, "cannot change the terminal's settings: %s", strerror(errno));
    console->is_raw = true;
    return 0;
}

int console_start(struct console *console, struct serial *serial, struct vm_error *error)
{
    int err = 0;
    console->serial = serial;
    if (console->input == CONSOLE_INPUT_NULL)
        return 0;
    if (console->input == CONSOLE_INPUT_TERMINAL)
        err = make_raw(console, error);
    if (err != 0)
        return err;
    err = pthread_create(&console->thread, NULL, input_thread, console);
    if (err != 0) {
        console_stop(console);
        return vm_fail(error, -err, "cannot start a thread: %s", strerror(err));
    }
    console->thread_started = true;
    return 0;
}

void console_stop(struct console *console)
{
    if (console->thread_started) {
        atomic_store_explicit(&console->closing, true, memory_order_release);
        console_ready(console);
        pthread_join(console->thread, NULL);
        console->thread_started = false;
    }
    if (console->is_raw) {
        tcsetattr(STDIN_FILENO, TCSADRAIN, &console->saved);
        console->is_raw = false;
    }
}

void console_destroy(struct console *console)
{
    console_stop(console);
    if (console->ready_fd >= 0)
        close(console->ready_fd);
    console->ready_fd = -1;
}
