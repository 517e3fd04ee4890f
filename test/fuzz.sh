#!/bin/bash
# Runs every fuzz target of the module for FUZZTIME (default 60s), one after the other: `go test -fuzz` takes one
# target at a time. Arguments are package patterns (default ./...). What is interesting is hardly minimized: by default
# that may take the whole time.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzztime=${FUZZTIME:-60s}
failed=()
total=0
while read -r dir import; do
    while read -r target; do
        total=$((total + 1))
        printf '== %s %s\n' "$import" "$target"
        if ! go test </dev/null -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1s "$import"; then
            failed+=("$import $target")
        fi
    done < <(cat "$dir"/*_test.go 2>/dev/null | sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p')
done < <(go list -f '{{.Dir}} {{.ImportPath}}' "${@:-./...}")

if [ "$total" -eq 0 ]; then
    echo "there is no fuzz target in ${*:-./...}" >&2
    exit 1
fi
printf '%d fuzz targets, %d failed\n' "$total" "${#failed[@]}"
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
