#!/bin/sh
# Checks the protocols of the DAX session exhaustively with spin, and that each check can fail: every switch that
# breaks a rule must give an error.
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
# Model, what it is run with, and a switch after "breaks" if it must fail.
cases='
slot.pml
slot.pml -DLOAD
slot.pml breaks -DNO_CLAIM
slot.pml breaks -DNO_WAKE
slot.pml -DLOAD breaks -DNO_GATE_CHECK
slot.pml -DLOAD breaks -DNO_GATE_EPOCH
slot.pml -DLOAD breaks -DNO_GENERATION
slot.pml -DLOAD breaks -DSLEEP_AT_GATE
picture.pml
picture.pml breaks -DNO_COMMIT
picture.pml breaks -DNO_UNDO
'
echo "1..$(echo "$cases" | grep -c pml)"
if ! command -v spin >/dev/null; then
    echo "$cases" | grep pml | awk '{ print "ok " NR " - " $0 " # SKIP spin is not installed" }'
    exit 0
fi
number=0 bad=0
check() { # model [switches] [breaks switch]
    number=$((number + 1))
    dir=$work/$number
    name="$*" model=$1
    shift
    switches=$(echo "$*" | sed 's/breaks//')
    mkdir "$dir" && cd "$dir" || exit 1
    # shellcheck disable=SC2086
    spin -a $switches "$here/$model" >spin.log 2>&1 && cc -O2 -w -DSAFETY -DMEMLIM=2000 -o pan pan.c 2>cc.log &&
        ./pan -m1000000 >pan.log 2>&1
    errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log 2>/dev/null)
    if grep -q 'Search not completed\|max search depth too small\|out of memory' pan.log 2>/dev/null && [ "${errors:-0}" = 0 ]; then
        errors=incomplete
    fi
    states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' pan.log 2>/dev/null)
    case $name in
        *breaks*) wanted=1 ;;
        *) wanted=0 ;;
    esac
    if [ "$errors" = "$wanted" ]; then
        echo "ok $number - $name"
        echo "# $states states"
    else
        cat spin.log cc.log pan.log 2>/dev/null | head -40 | sed 's/^/# /'
        echo "not ok $number - $name"
        bad=1
    fi
    cd "$here" || exit 1
}
while read -r line; do
    # shellcheck disable=SC2086
    [ -z "$line" ] || check $line
done <<END
$cases
END
exit $bad
