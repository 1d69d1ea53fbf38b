#!/bin/sh
# The shared library exports oriel_* and nothing else, and everything that the public headers declare.
library=$1
bad=0
echo 1..3
exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
strange=$(echo "$exported" | grep -v '^oriel_')
if [ -n "$exported" ] && [ -z "$strange" ]; then
    echo "ok 1 - every exported symbol starts with oriel_"
else
    echo "$strange" | sed 's/^/# exported: /'
    echo "not ok 1 - every exported symbol starts with oriel_"
    bad=1
fi

# The compiler tells what the headers declare: clang's syntax tree names every function and every extern object.
for header in "$ORIEL_SOURCE"/include/oriel/*.h; do echo "#include \"$header\""; done >"$TMPDIR/all.c"
declared=$(clang -I"$ORIEL_SOURCE/include" -fsyntax-only -Xclang -ast-dump=json "$TMPDIR/all.c" 2>/dev/null |
    python3 -c '
import json, sys
for node in json.load(sys.stdin)["inner"]:
    if node["kind"] in ("FunctionDecl", "VarDecl") and node["name"].startswith("oriel_") and node.get("storageClass") != "static":
        print(node["name"])' | sort -u)
missing=$(echo "$declared" | grep -vxF "$exported")
if [ -n "$declared" ] && [ -z "$missing" ]; then
    echo "ok 2 - what the public headers declare is exported"
else
    echo "$missing" | sed 's/^/# declared, not exported: /'
    echo "not ok 2 - what the public headers declare is exported"
    bad=1
fi
hidden=$(echo "$exported" | grep -vxF "$declared")
if [ -z "$hidden" ]; then
    echo "ok 3 - what is exported is declared in a public header"
else
    echo "$hidden" | sed 's/^/# exported, not declared: /'
    echo "not ok 3 - what is exported is declared in a public header"
    bad=1
fi
exit $bad
