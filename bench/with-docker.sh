#!/bin/bash
# with-docker.sh COMMAND...: runs a command with a Docker daemon of its own, as in
#
#   sudo bench/with-docker.sh make bench
#
# The daemon has its default runtime and settings, its files in a new directory of TMPDIR, and a network namespace of its
# own, so that neither its bridge nor its firewall rules are the host's. It ends with the command.
set -eu
dir=$(mktemp -d "${TMPDIR:-/tmp}/gcr-bench-docker-XXXXXX")
echo '{}' >"$dir/daemon.json"
# shellcheck disable=SC2016 # the inner shell expands them
unshare --net --mount sh -c 'ip link set lo up && exec dockerd "$@"' dockerd --config-file "$dir/daemon.json" \
    --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" -H "unix://$dir/socket" \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent /gcr-bench-docker >"$dir/log" 2>&1 &
daemon=$!
finish() {
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" || true
    find /sys/fs/cgroup -maxdepth 2 -name gcr-bench-docker -exec rmdir {} + || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM
export DOCKER_HOST="unix://$dir/socket"
for _ in $(seq 100); do
    docker version >/dev/null 2>&1 && break
    kill -0 "$daemon" || { tail -5 "$dir/log" >&2; exit 1; }
    sleep 0.2
done
docker version >/dev/null || { tail -5 "$dir/log" >&2; exit 1; }
"$@"
