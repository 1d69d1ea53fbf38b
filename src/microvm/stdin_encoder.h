/*
 * Carries a byte stream with an end through the guest's terminal line.
 *
 * In stream mode the guest's init keeps the line in canonical mode, the only one that knows an end of input,
 * with every special character off but two (boot_config.h): END pushes what was sent since the last newline
 * or END, and is the end of input when that is nothing; QUOTE makes the next character data. The line
 * discipline holds at most 4,095 bytes, so a long line is pushed in pieces.
 */
#ifndef ORIEL_MICROVM_STDIN_ENCODER_H
#define ORIEL_MICROVM_STDIN_ENCODER_H

#include <stddef.h>
#include <stdint.h>

#define STDIN_PIECE_MAX 1024

struct stdin_encoder {
    size_t pending; /* bytes sent since the last newline or END */
};

/* Room the encoded form of len bytes needs at most. */
size_t stdin_encoded_max(size_t len);

/* Encodes one piece of input as it arrived, pushed at its end. Returns the number of bytes in out. */
size_t stdin_encode(struct stdin_encoder *encoder, const uint8_t *data, size_t len, uint8_t *out);

/* Encodes the end of input: `times` ends, for as many readers that ask. out has room for `times` bytes. */
size_t stdin_encode_end(struct stdin_encoder *encoder, uint8_t *out, size_t times);

#endif
