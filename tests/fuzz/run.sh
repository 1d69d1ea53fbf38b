#!/bin/sh
# Runs one libFuzzer program for some seconds over its kept inputs: run.sh PROGRAM CORPUS SECONDS. Prints TAP; the input
# that broke it is kept beside the program.
set -u
program=$1 corpus=$2 seconds=$3
name=$(basename "$program")
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
echo 1..1
if "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$program-found-" "$fresh" "$corpus" >"$fresh.log" 2>&1; then
    sed -n 's/^stat::number_of_executed_units: */# inputs run: /p' "$fresh.log"
    echo "ok 1 - $name stands $seconds s of inputs"
else
    tail -n 60 "$fresh.log" | sed 's/^/# /'
    echo "not ok 1 - $name stands $seconds s of inputs"
fi
rm -f "$fresh.log"
