/*
 * The picture that oriel_dax_save() takes (src/dax/picture.h), checked exhaustively by spin: a writer changes blocks 0
 * and 1 together and then block 2, twice; a saver takes two pictures meanwhile.
 *
 * Proved: blocks 0 and 1 are in the picture as of the same change; what a thread did later is never in the picture
 * without what it did before; a picture holds all that was finished before it began.
 *
 * Switches that break it: NO_COMMIT (several blocks change without COMMIT), NO_UNDO (nothing is put aside).
 */
byte wide[2];      /* blocks 0 and 1: number of the last wide change */
byte single;       /* block 2: number of the last change */
byte generation[3];
bool commit[3], claimed[3];
bool saving;
byte epoch, kept_epoch[3], kept[3];
byte wide_done, single_done; /* as others may know it */

#define value(b) (b == 2 -> single : wide[b])

inline claim(b)
{
    d_step { !claimed[b] -> claimed[b] = true }
}

inline keep(b)
{
#ifndef NO_UNDO
    if
    :: kept_epoch[b] != seen_epoch -> kept[b] = value(b); kept_epoch[b] = seen_epoch
    :: else
    fi
#else
    skip
#endif
}

/* The decision: one look at the phase word. */
inline look()
{
    d_step { see = saving; seen_epoch = epoch }
}

proctype wide_writer()
{
    bool see;
    byte seen_epoch, i;
    do
    :: i < 2 ->
        claim(0);
        claim(1);
#ifndef NO_COMMIT
        commit[0] = true;
        commit[1] = true;
#endif
        look();
        if
        :: see -> keep(0); keep(1)
        :: else
        fi;
        d_step { wide[1] = i + 1; generation[1]++; commit[1] = false; claimed[1] = false };
        d_step { wide[0] = i + 1; generation[0]++; commit[0] = false; claimed[0] = false };
        wide_done = i + 1;
        claim(2);
        look();
        if
        :: see -> keep(2)
        :: else
        fi;
        d_step { single = i + 1; generation[2]++; claimed[2] = false };
        single_done = i + 1;
        i++
    :: else -> break
    od
}

byte pictured[3];

/* One block, with care: the word, the record, the word again, then what was put aside. */
inline take(b)
{
    do
    :: true ->
        d_step { g = generation[b]; c = commit[b] };
        v = value(b);
        d_step { same = (g == generation[b] && !c && !commit[b]) };
        if
        :: kept_epoch[b] == epoch -> pictured[b] = kept[b]; break
        :: kept_epoch[b] != epoch && same -> pictured[b] = v; break
        :: kept_epoch[b] != epoch && !same
        fi
    od
}

proctype saver()
{
    byte g, v, n, wide_before, single_before;
    bool c, same;
    do
    :: n < 2 ->
        d_step { wide_before = wide_done; single_before = single_done };
        d_step { epoch++; saving = true };
        take(0);
        take(1);
        take(2);
        saving = false;
        assert(pictured[0] == pictured[1]);
        assert(pictured[0] >= pictured[2]); /* the wide change comes first */
        assert(pictured[0] >= wide_before && pictured[2] >= single_before);
        n++
    :: else -> break
    od
}

init {
    atomic {
        run wide_writer();
        run saver()
    }
}
