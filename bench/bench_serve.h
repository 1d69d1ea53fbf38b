/* What the parts of bench_serve share: the tree that is served, a driver with many requests in flight,
 * workloads. */
#ifndef ORIEL_BENCH_SERVE_H
#define ORIEL_BENCH_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frontend.h"

#define TREE_FILES    4000 /* small/f0 … of TREE_FILE_LEN bytes */
#define TREE_FILE_LEN 4096
#define TREE_BIG_LEN  (64u << 20) /* big */
#define DEPTH_MAX     64
#define DATA_MAX      (1u << 20)

struct workload;

/* A place for one request at a time; depth of them are in flight. */
struct slot {
    unsigned number;
    struct fuse_in_header *in; /* header, arguments */
    struct fuse_out_header *out;
    char *reply; /* behind out: small replies */
    char *data;  /* DATA_MAX bytes for READ, WRITE, READDIRPLUS */
    unsigned step;
    uint64_t nodeid, fh, count;
    char name[32];
};

/* One connection with all its slots. */
struct driver {
    struct frontend fe;
    struct slot slots[DEPTH_MAX];
    uint64_t dir, small_dir, link, big, file; /* nodeids */
    uint64_t big_fh, dir_fh;
    uint64_t operations, errors;
    uint64_t seed;
    const struct workload *workload;
    unsigned queue;
    char mark; /* in names, of this connection */
    bool running;
};

/* What a step asks for. in_len: arguments behind the header. */
struct request {
    uint32_t opcode;
    uint64_t nodeid;
    size_t in_len;
    const void *data_in; /* device reads data_len bytes of the slot's data */
    size_t data_len, reply_len;
    bool data_out;
};

struct workload {
    const char *name, *per; /* what one operation is */
    /* Fills the slot's next request. Called first with step 0, then after each reply. False: an operation is
     * complete, begin the next with step 0. */
    bool (*next)(struct driver *driver, struct slot *slot, struct request *request);
    /* The same work in plain system calls, once; for the floor. */
    void (*floor)(int tree, uint64_t i);
    bool (*prepare)(struct driver *driver);
    double goal; /* at least so many times the control's speed */
};

extern const struct workload workloads[];
extern const size_t workload_count;

/* Makes the tree below folder. */
void make_tree(const char *folder);
int floor_open(const char *folder);

bool driver_connect(struct driver *driver, const char *socket, unsigned queues);
/* Another driver of the same connection, with a queue and slots of its own; on a connection of two queues. */
bool driver_second(struct driver *second, struct driver *first);
/* The same without a daemon, for echo_start(). */
bool driver_connect_to_echo(struct driver *driver);
/* Runs the workload with `depth` requests in flight for about ns nanoseconds. Returns nanoseconds per
 * operation, 0 on failure. */
double driver_run(struct driver *driver, const struct workload *workload, unsigned depth, uint64_t ns);
void driver_forget(struct driver *driver, uint64_t nodeid, uint64_t count);
/* One request, answered before it returns; 0 or -errno. */
int driver_call(struct driver *driver, uint32_t opcode, uint64_t nodeid, const void *arg, size_t len,
                void *out, size_t room);

/* first: a connection of two queues. */
bool measure_queues(struct driver *first, unsigned rounds);

/* A server that answers whatever it is asked with an empty reply, in a process of its own. */
bool echo_start(struct driver *driver, pid_t *pid, int core);
void echo_stop(struct driver *driver, pid_t pid);

uint64_t now_ns(void);
uint64_t random_u64(uint64_t *seed);

#endif
