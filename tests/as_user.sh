#!/bin/sh
# Runs a TAP program as an ordinary user: as_user.sh PROGRAM [ARGUMENT...]
#
# Root gives it a uid without account, no group but its own and no capability, and a TMPDIR of that user's on a tmpfs.
# What a machine has for its users (a line in /etc/passwd for fusermount3, a /dev/fuse that anybody may open) is put in
# place in a mount namespace of its own, so nothing of the machine changes. The bounding set stays full, as it is for a
# user who logs in: without it fusermount3 gets no rights from being suid.
# Who is an ordinary user already runs the program as it is.
set -eu
user=1234

skip() {
    echo "1..0 # SKIP $1"
    exit 0
}

if [ "$(id -u)" != 0 ]; then
    exec "$@"
fi
if [ "${1-}" != --inside ]; then
    unshare --mount --propagation private true 2>/dev/null || skip "no mount namespace can be made here"
    exec unshare --mount --propagation private "$0" --inside "$@"
fi
shift

become() {
    setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all --ambient-caps=-all "$@"
}

base=$TMPDIR/user
mkdir "$base"
chmod 711 "$TMPDIR" # the runner's, of this test only
mount -t tmpfs -o size=2g,mode=711 tmpfs "$base"
mkdir "$base/tmp"
chown "$user:$user" "$base/tmp"

cp /etc/passwd "$base/passwd"
echo "oriel-test:x:$user:$user::$base/tmp:/bin/sh" >>"$base/passwd"
mount --bind "$base/passwd" /etc/passwd
if [ -e /dev/fuse ] && mknod -m 666 "$base/fuse" c 10 229 2>/dev/null; then
    mount --bind "$base/fuse" /dev/fuse
fi

for word; do
    case $word in
        /*) become test -r "$word" || skip "an ordinary user cannot read $word" ;;
    esac
done

become test -w "$base/tmp" || skip "an ordinary user cannot reach $base/tmp"
export TMPDIR="$base/tmp" HOME="$base/tmp" USER=oriel-test
cd "$TMPDIR"
status=0
become "$@" || status=$?
# The namespace would hide a mount that stays, and the runner could not complain of it.
if grep -F " $TMPDIR/" /proc/self/mountinfo >&2; then
    echo "Bail out! left a mount behind"
    exit 1
fi
exit $status
