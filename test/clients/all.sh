#!/bin/bash
# Runs the tests of every client that is installed, one after the other. `go test ./test/clients` does the same.
cd "$(dirname "$0")" || exit 1
status=0
for client in podman rootless systemd buildah containerd cri docker; do
    "./$client.sh" || status=1
done
exit $status
