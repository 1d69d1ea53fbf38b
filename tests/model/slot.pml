/*
 * The claims of the DAX session (src/dax/claim.c), checked exhaustively by spin, on two blocks: two faults on one
 * block, a remove followed by a setup of another file, a setup over both blocks; or, with LOAD, one fault and one
 * setup over both blocks against two loads under the gate.
 *
 * Proved: a block never has two owners; a fault maps a slot once and publishes only what the slot shows by then; no
 * wake-up is lost (no process is left asleep); at the end table and mapper agree.
 *
 * Each switch breaks one rule of the protocol, and the check must then fail:
 *   NO_CLAIM       a fault looks, maps and publishes without a claim
 *   NO_WAKE        the end of a claim does not wake
 *   NO_GATE_CHECK  the gate is not looked at again after the claim was won
 *   NO_GATE_EPOCH  nor whether it was closed and opened again in between
 *   NO_GENERATION  who backs off from a closed gate does not compare the word with the one it claimed
 *   SLEEP_AT_GATE  a first claimer goes to sleep on a block without looking at the gate again
 */
#define BLOCKS 2
#define PROCS  5

bool claimed[BLOCKS], waiters[BLOCKS], bound[BLOCKS];
byte generation[BLOCKS];
byte file[BLOCKS], shown[BLOCKS]; /* 0: nothing */
byte owners[BLOCKS];
byte asleep[PROCS]; /* block + 1, 0: awake */
bool gate;
byte gate_epoch;
byte done;

inline wake_sleepers(b)
{
    byte p = 0;
    do
    :: p < PROCS ->
        if
        :: asleep[p] == b + 1 -> asleep[p] = 0
        :: else
        fi;
        p++
    :: else -> break
    od;
    p = 0
}

/* One exchange; then, if somebody waits, the wake call. */
inline end_claim(b)
{
    owners[b]--;
    d_step { had_waiters = waiters[b]; claimed[b] = false; waiters[b] = false };
#ifndef NO_WAKE
    if
    :: had_waiters -> d_step { wake_sleepers(b) }
    :: else
    fi
#endif
}

/* Sets WAITERS, looks at the gate if this is a first claim, and sleeps while the word is still so. */
inline wait_for(b, first)
{
    d_step { must_wait = claimed[b]; if :: claimed[b] -> waiters[b] = true :: else fi };
    if
#ifndef SLEEP_AT_GATE
    :: must_wait && first && gate
#endif
    :: must_wait && !(first && gate) ->
        d_step { if :: claimed[b] && waiters[b] -> asleep[_pid - 1] = b + 1 :: else fi };
        asleep[_pid - 1] == 0
#ifdef SLEEP_AT_GATE
    :: must_wait && first && gate ->
        d_step { if :: claimed[b] && waiters[b] -> asleep[_pid - 1] = b + 1 :: else fi };
        asleep[_pid - 1] == 0
#endif
    :: !must_wait
    fi
}

inline try(b)
{
    d_step {
        won = !claimed[b];
        seen = generation[b];
        if :: won -> claimed[b] = true :: else fi
    }
}

inline own(b)
{
    owners[b]++;
    assert(owners[b] == 1)
}

inline claim_first(b)
{
    do
    :: d_step { !gate -> epoch = gate_epoch };
        try(b);
        if
        :: !won -> wait_for(b, true)
#ifdef NO_GATE_CHECK
        :: won -> break
#else
        :: won ->
#ifdef NO_GATE_EPOCH
            stayed = !gate;
#else
            d_step { stayed = (!gate && epoch == gate_epoch) };
#endif
            if
            :: stayed -> break
            :: else
            fi;
            d_step { /* back off, unless the word was rewritten */
                had_waiters = false;
#ifdef NO_GENERATION
                had_waiters = waiters[b]; claimed[b] = false; waiters[b] = false
#else
                if
                :: claimed[b] && generation[b] == seen ->
                    had_waiters = waiters[b]; claimed[b] = false; waiters[b] = false
                :: else
                fi
#endif
            };
            if
            :: had_waiters -> d_step { wake_sleepers(b) }
            :: else
            fi
#endif
        fi
    od;
    own(b)
}

inline claim_further(b)
{
    do
    :: try(b);
        if
        :: won -> break
        :: else -> wait_for(b, false)
        fi
    od;
    own(b)
}

#define LOCALS bool had_waiters, must_wait, won, stayed; byte seen, epoch

proctype fault(byte b)
{
    LOCALS;
    byte f;
#ifndef NO_CLAIM
    claim_first(b);
#endif
    if
    :: file[b] != 0 && !bound[b] ->
        f = file[b];
        /* the source opens, the mapper maps: anything may happen meanwhile */
        assert(!bound[b]);
        shown[b] = f;
        assert(file[b] == f);
        bound[b] = true
    :: else
    fi;
#ifndef NO_CLAIM
    end_claim(b);
#endif
    done++
}

proctype remove_then_setup(byte b)
{
    LOCALS;
    claim_first(b);
    shown[b] = 0;
    d_step { file[b] = 0; bound[b] = false; generation[b]++ };
    end_claim(b);
    claim_first(b);
    shown[b] = 2;
    d_step { file[b] = 2; bound[b] = true; generation[b]++ };
    end_claim(b);
    done++
}

/* Claims rise, publishing falls. */
proctype wide_setup()
{
    LOCALS;
    claim_first(0);
    claim_further(1);
    shown[0] = 3;
    shown[1] = 3;
    d_step { file[1] = 3; bound[1] = true; generation[1]++ };
    end_claim(1);
    d_step { file[0] = 3; bound[0] = true; generation[0]++ };
    end_claim(0);
    done++
}

inline settle(b)
{
    do
    :: claimed[b] -> wait_for(b, false)
    :: !claimed[b] -> break
    od
}

/* Rewrites whole words, whoever may be trying to claim them just then. */
inline rewrite(b)
{
    assert(owners[b] == 0);
    shown[b] = 0;
    assert(owners[b] == 0);
    d_step { file[b] = 4; bound[b] = false; generation[b]++; claimed[b] = false; waiters[b] = false };
    assert(owners[b] == 0)
}

proctype load()
{
    LOCALS;
    byte n;
    do
    :: n < 2 ->
        gate = true;
        settle(0);
        settle(1);
        rewrite(0);
        rewrite(1);
        d_step { gate = false; gate_epoch++ };
        n++
    :: else -> break
    od;
    done++
}

init {
    file[0] = 1;
    file[1] = 1;
    atomic {
        run fault(0);
        run wide_setup();
#ifdef LOAD
        run load()
#else
        run fault(0);
        run remove_then_setup(0)
#endif
    }
#ifdef LOAD
    done == 3;
#else
    done == 4;
#endif
    assert(!claimed[0] && !claimed[1]);
    assert(!bound[0] || shown[0] == file[0]);
    assert(!bound[1] || shown[1] == file[1]);
    assert(file[0] != 0 || shown[0] == 0)
}
