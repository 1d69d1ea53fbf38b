/*
 * A picture: all slots as they were at one moment, taken while other threads go on changing them.
 *
 * Nobody waits for the photographer. The moment is the store that sets SAVING in the phase word. From then on
 * whoever changes a block first puts aside what the block showed (undo); an array that is replaced is not freed
 * (retire). A block is read without a claim: its word, its record, its word again; when it was changed meanwhile,
 * what was put aside is taken instead. A change of one block that did not see SAVING yet may be in the picture or
 * not: nobody can have seen its end before the moment. A change of several blocks sets COMMIT in all their words
 * before it looks at the phase: the photographer waits for those that decided before the moment (no system call
 * and no call of source or mapper lies between), and the others have put aside all of it.
 */
#ifndef ORIEL_DAX_PICTURE_H
#define ORIEL_DAX_PICTURE_H

#include "dax/slots.h"

/* What a block showed at the moment of the picture `epoch`. */
struct undo {
    struct undo *next;
    uint64_t epoch, block;
    uint64_t word, nodeid, foffset;
};

/* One slot in the saved layout; what the section calls reserved is 1 for a bound slot if that was asked for. */
#define PICTURE_ENTRY 40

struct picture {
    unsigned char *out; /* room for `room` entries */
    size_t room;
    size_t count; /* slots seen, also those for which there was no room */
    size_t bound; /* those of them whose first byte is bound */
    uint64_t bytes;
    bool with_bound;
};

/* The caller has the maintenance lock. -ENOMEM: somebody could not put aside what was needed. */
int picture_take(struct oriel_dax *dax, struct picture *picture);

/* Puts aside what a claimed block shows, before it changes. `phase` is the phase word with SAVING in it. */
void picture_keep(struct oriel_dax *dax, uint64_t block, uint64_t phase);

/* Frees an array that was replaced, as soon as nobody can be reading it. */
void picture_retire(struct oriel_dax *dax, struct fine *fine);

/* Frees what is left; nobody else may be using the session. */
void picture_cleanup(struct oriel_dax *dax);

#endif
