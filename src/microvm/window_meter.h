/*
 * Counts what a window shows: a mapper that passes every call on to another one.
 *
 * Also an example of what an embedder can put between the DAX session and a mapper.
 */
#ifndef ORIEL_MICROVM_WINDOW_METER_H
#define ORIEL_MICROVM_WINDOW_METER_H

#include <stdatomic.h>
#include <stdint.h>

#include <oriel/mapper.h>

struct window_meter {
    struct oriel_dax_mapper mapper; /* to be given to the session */
    const struct oriel_dax_mapper *next;
    uint64_t granule;
    size_t words;
    uint64_t *shown; /* one bit a granule, changed atomically */
    _Atomic uint64_t bytes_now, bytes_peak, bytes_total;
};

/* next outlives the meter. Returns 0 or -ENOMEM. */
int window_meter_init(struct window_meter *meter, const struct oriel_dax_mapper *next, uint64_t window_len);
void window_meter_destroy(struct window_meter *meter);

#endif
