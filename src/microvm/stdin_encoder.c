#include "microvm/stdin_encoder.h"

#include <string.h>

#include "microvm/boot_config.h"

size_t stdin_encoded_max(size_t len)
{
    return 2 * len + len / STDIN_PIECE_MAX + 2;
}

static size_t push(struct stdin_encoder *encoder, uint8_t *out)
{
    if (encoder->pending == 0)
        return 0;
    encoder->pending = 0;
    *out = BOOT_STREAM_END;
    return 1;
}

size_t stdin_encode(struct stdin_encoder *encoder, const uint8_t *data, size_t len, uint8_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (data[i] == BOOT_STREAM_END || data[i] == BOOT_STREAM_QUOTE)
            out[n++] = BOOT_STREAM_QUOTE;
        out[n++] = data[i];
        encoder->pending = data[i] == '\n' ? 0 : encoder->pending + 1;
        if (encoder->pending == STDIN_PIECE_MAX)
            n += push(encoder, out + n);
    }
    return n + push(encoder, out + n);
}

size_t stdin_encode_end(struct stdin_encoder *encoder, uint8_t *out, size_t times)
{
    encoder->pending = 0;
    memset(out, BOOT_STREAM_END, times);
    return times;
}
