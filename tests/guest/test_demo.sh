#!/bin/sh
# `make run`: what the README promises, seen on the host.
cd "$ORIEL_SOURCE" || exit 1
out=$TMPDIR/out err=$TMPDIR/err count=0 bad=0
scripts/run >"$out" 2>"$err"
status=$?

point() { # name, then a command that tells whether it is so
    count=$((count + 1)) name=$1
    shift
    if "$@"; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        bad=1
    fi
}
sum_of() { sed -n "s/^$1: *sha256 of big: \([0-9a-f]*\).*/\1/p" "$out"; }

sed 's/^/# /' "$out" "$err"
point "it succeeds" [ $status = 0 ]
point "the guest mounts the share with DAX" grep -q '^guest:.*demo /mnt/demo virtiofs.*dax' "$out"
same() { [ -n "$(sum_of guest)" ] && [ "$(sum_of guest)" = "$(sum_of host)" ]; }
point "both sides read the same" same
point "the host sees what the guest stored" grep -q '^host:.*stored by the guest with a plain memcpy' "$out"
point "the host sees what the guest appended" grep -q '^host: *a line of the guest' "$out"
point "the table shows mappings" grep -Eq '^ *SETUPMAPPING +[1-9]' "$err"
point "the table shows that nothing came by READ" grep -Eq '^bytes moved by READ +0 ' "$err"
echo "1..$count"
exit $bad
