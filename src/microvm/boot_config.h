/*
 * What the host tells the guest's init: a file in the initial file system that holds NUL-terminated strings
 * in pairs, key and value, in the order in which they are to be done. No quoting and no shell anywhere, so
 * any byte but NUL may be in a value.
 */
#ifndef ORIEL_MICROVM_BOOT_CONFIG_H
#define ORIEL_MICROVM_BOOT_CONFIG_H

#define BOOT_CONFIG_PATH "/oriel/config"

#define BOOT_KEY_MODULE    "module"    /* path of a kernel module to load */
#define BOOT_KEY_TAG       "tag"       /* begins a mount: tag of a share */
#define BOOT_KEY_OPTIONS   "options"   /* of that mount; default none */
#define BOOT_KEY_READ_ONLY "read-only" /* "1": mount it so */
#define BOOT_KEY_MOUNT     "mount"     /* mounts it at this path */
#define BOOT_KEY_DIRECTORY "directory" /* working directory of the command */
#define BOOT_KEY_ENV       "env"       /* NAME=VALUE for the command */
#define BOOT_KEY_ARG       "arg"       /* one argument of the command; none: a shell */
#define BOOT_KEY_STDIN     "stdin"     /* BOOT_STDIN_* */
#define BOOT_KEY_ROWS      "rows"      /* size of the terminal */
#define BOOT_KEY_COLUMNS   "columns"

#define BOOT_STDIN_TERMINAL "terminal" /* a person types */
#define BOOT_STDIN_STREAM   "stream"   /* bytes, encoded as stdin_encoder.h says */
#define BOOT_STDIN_NULL     "null"

/* The port that takes the command's exit status (one byte, 128 + n for a death by signal n) and ends the
 * machine. */
#define BOOT_STATUS_PORT 0xf4

/* The port that takes a byte, of no meaning, when the console's terminal line is set up: input may come from
 * now on. */
#define BOOT_INPUT_PORT 0xf5

/* Statuses of the init itself, as env(1) and shells have them. */
#define BOOT_STATUS_SETUP_FAILED 125
#define BOOT_STATUS_NOT_RUNNABLE 126
#define BOOT_STATUS_NOT_FOUND    127
#define BOOT_STATUS_SIGNAL_BASE  128

/* Characters of the console's terminal line in stream mode. */
#define BOOT_STREAM_END   0x04 /* pushes what was sent, or is the end when nothing was */
#define BOOT_STREAM_QUOTE 0x16 /* the next character is data */

#endif
