#!/bin/sh
# Each public header compiles alone, twice in one file, as strict C17 and as C++17, with gcc and clang.
include=$ORIEL_SOURCE/include
count=0 bad=0
for header in "$include"/oriel/*.h; do
    name=oriel/$(basename "$header")
    printf '#include <%s>\n#include <%s>\n' "$name" "$name" >"$TMPDIR/one.c"
    cp "$TMPDIR/one.c" "$TMPDIR/one.cc"
    for compile in "gcc -std=c17 -Wstrict-prototypes $TMPDIR/one.c" "clang -std=c17 -Wstrict-prototypes $TMPDIR/one.c" \
        "g++ -std=c++17 $TMPDIR/one.cc" "clang++ -std=c++17 $TMPDIR/one.cc"; do
        count=$((count + 1))
        # shellcheck disable=SC2086
        if complaints=$($compile -I"$include" -fsyntax-only -Wall -Wextra -Wpedantic -Werror 2>&1); then
            echo "ok $count - $name with ${compile%% *}"
        else
            echo "$complaints" | sed 's/^/# /'
            echo "not ok $count - $name with ${compile%% *}"
            bad=1
        fi
    done
done
echo "1..$count"
exit $bad
