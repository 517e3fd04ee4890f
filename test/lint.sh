#!/bin/bash
# Style and static checks. The tools are built from the versions named here.
set -euo pipefail
cd "$(dirname "$0")/.."

gofumpt=mvdan.cc/gofumpt@v0.9.2
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.6.1

unformatted=$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 -r go run "$gofumpt" -l)
if [ -n "$unformatted" ]; then
    echo "not formatted (run: go run $gofumpt -w FILE):" >&2
    echo "$unformatted" >&2
    exit 1
fi
go vet ./...
go run "$staticcheck" ./...
if command -v shellcheck >/dev/null; then
    git ls-files -z --cached --others --exclude-standard '*.sh' .ci/run | xargs -0 -r shellcheck
else
    echo "shellcheck is not installed: shell scripts are not checked" >&2
fi
