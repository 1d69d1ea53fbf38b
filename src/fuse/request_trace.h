/* One trace line when a request was decoded, one when it is answered. */
#ifndef ORIEL_FUSE_REQUEST_TRACE_H
#define ORIEL_FUSE_REQUEST_TRACE_H

#include "fuse/request.h"

void request_trace_begin_(const struct request *r) __attribute__((cold));
void request_trace_end_(const struct request *r, int rc, size_t len, uint64_t ns) __attribute__((cold));

static inline void request_trace_begin(const struct request *r)
{
    if (__builtin_expect(r->server->options.trace != NULL, 0))
        request_trace_begin_(r);
}

static inline void request_trace_end(const struct request *r, int rc, size_t len, uint64_t ns)
{
    if (__builtin_expect(r->server->options.trace != NULL, 0))
        request_trace_end_(r, rc, len, ns);
}

#endif
