#!/bin/bash
# Runs every test that can run on this machine: as the caller, and, when the caller is root, the tests of an
# ordinary user's containers too. Those that need another kernel are run by `make test-vm`.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "lint"
test/lint.sh

step "build for arm64"
GOARCH=arm64 go build ./...

step "tests"
go test ./...
