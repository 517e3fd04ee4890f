#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154 # lib.sh defines the variables; the containers expand the words
# dockerd drives gcrun, with the daemon.json that is shipped in contrib/. It runs in a network namespace of its own,
# where it may make its bridge.
. "$(dirname "$0")/lib.sh"
{ command -v dockerd && command -v docker; } >/dev/null || skip "needs dockerd and docker"

sed "s|/usr/local/bin/gcrun|$work/gcrun|" "$here/../../contrib/daemon.json" >"$work/daemon.json"
unshare -n dockerd --config-file "$work/daemon.json" --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" \
    -H "unix://$work/d.sock" --storage-driver vfs --iptables=false --bridge=none >"$work/log" 2>&1 &
daemon=$!
trap 'kill $daemon; wait $daemon; rm -rf "$work"' EXIT
D=(docker -H "unix://$work/d.sock")
for _ in $(seq 120); do "${D[@]}" version >/dev/null 2>&1 && break; sleep 0.5; done
tar -C "$work/rootfs" -c . | "${D[@]}" import - probe >/dev/null || { tail -5 "$work/log"; exit 1; }
run=("${D[@]}" run --network none)

expect "the default runtime" 0 '^gcrun$' "${D[@]}" info -f '{{.DefaultRuntime}}'
expect "run" 0 '^hello$' "${run[@]}" --rm probe echo hello
expect "exit status" 7 '' "${run[@]}" --rm probe sh -c 'exit 7'
expect "command not found" 127 'executable file not found in \$PATH' "${run[@]}" --rm probe nonexistent
expect "absolute command not found" 127 'no such file or directory' "${run[@]}" --rm probe /nonexistent
expect "a directory as command" 126 'is a directory|permission denied' "${run[@]}" --rm probe /etc
expect "terminal" 0 '/dev/pts/0' script -qec "${run[*]} --rm -it probe sh -c 'tty; sleep 1'" /dev/null
expect "limits" 0 '^67108864 20$' "${run[@]}" --rm --memory 64m --pids-limit 20 probe sh -c 'echo $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null)'
expect "detached" 0 '^[0-9a-f]{64}$' "${run[@]}" -d --name c1 --health-cmd true --health-interval 1s probe sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done'
expect "exec" 5 '^inside$' "${D[@]}" exec c1 sh -c 'echo inside; exit 5'
expect "exec, not found" '12[67]' 'executable file not found in \$PATH' "${D[@]}" exec c1 nonexistent
expect "exec on a terminal" 0 '/dev/pts/' script -qec "${D[*]} exec -it c1 sh -c 'tty; sleep 1'" /dev/null
expect "top" 0 sleep "${D[@]}" top c1
expect "stats" 0 c1 "${D[@]}" stats --no-stream c1
expect "pause" 0 c1 "${D[@]}" pause c1
expect "unpause" 0 c1 "${D[@]}" unpause c1
expect "update" 0 c1 "${D[@]}" update --memory 100m --memory-swap 200m c1
for _ in $(seq 60); do [ "$("${D[@]}" inspect -f '{{.State.Health.Status}}' c1)" = healthy ] && break; sleep 0.5; done
expect "health check" 0 healthy "${D[@]}" inspect -f '{{.State.Health.Status}}' c1
expect "stop" 0 c1 "${D[@]}" stop c1
expect "exit status after stop" 0 '^5$' "${D[@]}" inspect -f '{{.State.ExitCode}}' c1
expect "start again" 0 c1 "${D[@]}" start c1
expect "kill" 0 c1 "${D[@]}" kill c1
expect "rm" 0 c1 "${D[@]}" rm -f c1
expect "restart policy" 0 '' "${run[@]}" -d --name c2 --restart on-failure:2 probe sh -c 'exit 3'
for _ in $(seq 60); do [ "$("${D[@]}" inspect -f '{{.RestartCount}}{{.State.Status}}' c2)" = 2exited ] && break; sleep 0.5; done
expect "restarted" 0 '^2exited$' "${D[@]}" inspect -f '{{.RestartCount}}{{.State.Status}}' c2
expect "rm of the restarted" 0 c2 "${D[@]}" rm -f c2
finish docker
