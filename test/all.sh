#!/bin/bash
# Runs every test that can run on this machine: as the caller, and, when the caller is root, the tests of an
# ordinary user's containers too. Those that need another kernel are run by `make test-vm`.
#
# Tests that repeat one thing with many inputs (go doc testing.Short) take fewer of them, unless GCR_TEST_FULL=1.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "lint"
test/lint.sh

step "build for arm64"
GOARCH=arm64 go build ./...

step "tests"
short=-short
[ "${GCR_TEST_FULL:-}" = "" ] || short=-short=false
began=$SECONDS
# Two packages at a time: most wait for the kernel, and a machine with many processors shall not run tests of
# limits beside each other. -count=1: many tests build the commands and run them, which go test's cache does not see.
failed=$(mktemp)
trap 'rm -f "$failed"' EXIT
if ! go test -json -count=1 "$short" -timeout 20m -p 2 ./... | go run ./test/report -failed "$failed"; then
    # On a machine that does other work, a test of limits or races can fail for want of time. A second failure, of the
    # package by itself, counts; that a first one happened stays visible above.
    [ -s "$failed" ] || exit 1
    step "once more, by themselves: $(tr '\n' ' ' <"$failed")"
    xargs go test -json -count=1 "$short" -timeout 20m -p 1 <"$failed" | go run ./test/report
fi
step "output against the schemas of the OCI specification"
(cd test/schema && go vet ./... && go test -count=1 ./...)
step "fuzzing, 500 inputs for each parser"
FUZZTIME=500x test/fuzz.sh 2>&1 | grep -v '^fuzz: elapsed'
echo "Lint, build and tests took $SECONDS s, the tests alone $((SECONDS - began)) s."
