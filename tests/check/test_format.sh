#!/bin/sh
# Every C file of the tree is formatted as .clang-format says.
cd "$ORIEL_SOURCE" || exit 1
files=$(git ls-files --cached --others --exclude-standard '*.c' '*.h' 2>/dev/null)
[ -n "$files" ] || files=$(find src include tests bench examples -name '*.[ch]')
echo 1..1
# shellcheck disable=SC2086
if complaints=$(clang-format-14 --dry-run -Werror $files 2>&1); then
    echo "ok 1 - formatted"
else
    echo "$complaints" | grep error: | cut -d: -f1-2 | sort -u | sed 's/^/# /'
    echo "# run: make format"
    echo "not ok 1 - formatted"
    exit 1
fi
