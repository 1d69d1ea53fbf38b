#!/bin/sh
# Runs a TAP program as an ordinary user: as_user.sh PROGRAM [ARGUMENT...]
#
# Root gives it a uid without account, no group but its own and no capability, and a TMPDIR of that user's on a tmpfs.
# What a machine has for its users (a /tmp, a line in /etc/passwd for fusermount3, a /dev/fuse that anybody may open,
# a way to the sources and the build) is put in place in a mount namespace of its own, so nothing of the machine
# changes. The bounding set stays full, as it is for a user who logs in: without it fusermount3 gets no rights from
# being suid.
# Who is an ordinary user already runs the program as it is.
set -eu
user=1234

if [ "$(id -u)" != 0 ]; then
    exec "$@"
fi
if [ "${1-}" != --inside ]; then
    if ! unshare --mount --propagation private true 2>/dev/null; then
        echo "1..0 # SKIP no mount namespace can be made here"
        exit 0
    fi
    exec unshare --mount --propagation private "$0" --inside "$@"
fi
shift

become() {
    setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all --ambient-caps=-all "$@"
}

# Covers the first folder on the way to $1, or itself, that is closed to others.
open_way() {
    [ "$1" != / ] || return 0
    open_way "$(dirname "$1")"
    if [ -d "$1" ] && ! become test -x "$1"; then
        mount -t tmpfs -o size=1m,mode=755 tmpfs "$1"
    fi
}

# Makes $1 reachable by its name, as it is in a home that is closed to others. $2: a descriptor of it.
let_in() {
    if ! become test -x "$1"; then
        open_way "$(dirname "$1")"
        mkdir -p "$1"
        mount --no-canonicalize --bind "/proc/self/fd/$2" "$1"
    fi
}

sources=$(realpath "$(dirname "$0")/..")
build=$(realpath "${ORIEL_BUILD:-$sources}")
exec 3<"$sources" 4<"$build"
cd /
mount -t tmpfs -o size=2g,mode=1777 tmpfs /tmp
let_in "$sources" 3
let_in "$build" 4
exec 3<&- 4<&-

machine=$(mktemp -d /tmp/machine-XXXXXX)
cp /etc/passwd "$machine/passwd"
TMPDIR=$(mktemp -d /tmp/user-XXXXXX)
chown "$user:$user" "$TMPDIR"
echo "oriel-test:x:$user:$user::$TMPDIR:/bin/sh" >>"$machine/passwd"
mount --bind "$machine/passwd" /etc/passwd
if [ -e /dev/fuse ] && mknod -m 666 "$machine/fuse" c 10 229 2>/dev/null; then
    mount --bind "$machine/fuse" /dev/fuse
fi

for word; do
    case $word in
        /*) become test -r "$word" || { echo "Bail out! an ordinary user cannot read $word"; exit 1; } ;;
    esac
done

export TMPDIR HOME="$TMPDIR" USER=oriel-test
cd "$TMPDIR"
status=0
become "$@" || status=$?
# The namespace would hide a mount that stays, and the runner could not complain of it.
if grep -F " $TMPDIR/" /proc/self/mountinfo >&2; then
    echo "Bail out! left a mount behind"
    exit 1
fi
exit $status
