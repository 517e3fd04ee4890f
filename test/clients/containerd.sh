#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154 # lib.sh defines the variables; the containers expand the words
# containerd's shim drives gcrun, through ctr.
. "$(dirname "$0")/lib.sh"
{ command -v containerd && command -v ctr; } >/dev/null || skip "needs containerd and ctr"

cat >"$work/config.toml" <<EOF
version = 2
root = "$work/root"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$work/c.sock"
[ttrpc]
  address = "$work/c.sock.ttrpc"
EOF
containerd -c "$work/config.toml" >"$work/log" 2>&1 &
daemon=$!
trap 'kill $daemon; wait $daemon; rm -rf "$work"' EXIT
C=(ctr -a "$work/c.sock")
for _ in $(seq 60); do "${C[@]}" version >/dev/null 2>&1 && break; sleep 0.5; done
run=("${C[@]}" run --runc-binary "$work/gcrun" --rootfs)
id=c$$

expect "run" 0 '^hello$' "${run[@]}" --rm "$work/rootfs" "$id-1" echo hello
expect "exit status" 7 '' "${run[@]}" --rm "$work/rootfs" "$id-2" sh -c 'exit 7'
expect "command not found" 1 'executable file not found in \$PATH' "${run[@]}" --rm "$work/rootfs" "$id-3" nonexistent
expect "seccomp" 0 'Seccomp:.*2' "${run[@]}" --rm --seccomp "$work/rootfs" "$id-4" grep Seccomp: /proc/self/status
expect "memory limit" 0 'memory:/default|0::/' "${run[@]}" --rm --memory-limit 67108864 "$work/rootfs" "$id-5" cat /proc/self/cgroup
expect "terminal" 0 '/dev/pts/0' script -qec "${run[*]} -t --rm $work/rootfs $id-6 tty" /dev/null
expect "detached" 0 '' "${run[@]}" -d "$work/rootfs" "$id" sleep 1000
expect "listed" 0 "$id .*RUNNING" "${C[@]}" task ls
expect "exec" 4 'uid=0' "${C[@]}" task exec --exec-id e1 "$id" sh -c 'id; exit 4'
expect "exec on a terminal" 0 '/dev/pts/' script -qec "${C[*]} task exec -t --exec-id e2 $id tty" /dev/null
expect "exec, not found" 1 'executable file not found in \$PATH' "${C[@]}" task exec --exec-id e3 "$id" nonexistent
expect "ps" 0 '^[0-9]+ ' "${C[@]}" task ps "$id"
expect "pause" 0 '' "${C[@]}" task pause "$id"
expect "paused" 0 "$id .*PAUSED" "${C[@]}" task ls
expect "resume" 0 '' "${C[@]}" task resume "$id"
expect "metrics" 0 'pids.current' "${C[@]}" task metrics "$id"
expect "kill" 0 '' "${C[@]}" task kill -s KILL "$id"
for _ in $(seq 50); do "${C[@]}" task ls | grep -q STOPPED && break; sleep 0.1; done
expect "stopped" 0 "$id .*STOPPED" "${C[@]}" task ls
expect "kill of what is stopped" 1 'not found' "${C[@]}" task kill -s KILL "$id"
expect "delete" 0 '' "${C[@]}" task rm "$id"
expect "delete the container" 0 '' "${C[@]}" container rm "$id"
expect "nothing is left" 0 '^0$' bash -c "ls /run/containerd/runc/default 2>/dev/null | grep -c '^$id' || true"
finish containerd
