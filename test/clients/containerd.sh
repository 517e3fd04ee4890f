#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154 # lib.sh defines the variables; the containers expand the words
# containerd's shim drives gcrun, through ctr.
. "$(dirname "$0")/lib.sh"
needs containerd containerd ctr containerd

cat >"$work/config.toml" <<EOT
version = 2
root = "$work/root"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$work/c.sock"
[ttrpc]
  address = "$work/c.sock.ttrpc"
EOT
containerd -c "$work/config.toml" >"$work/log" 2>&1 &
# The namespace of containerd names the cgroup as well.
C=(ctr -a "$work/c.sock" -n "$cgroup")
await "${C[@]}" version || { tail -5 "$work/log"; exit 1; }
run=("${C[@]}" run --runc-binary "$work/gcrun" --rootfs)
id=c1
status() { "${C[@]}" task ls | grep -q "^$1 .*$2"; }

expect "run" 0 '^hello$' "${run[@]}" --rm "$work/rootfs" "$id-1" echo hello
expect "exit status" 7 '' "${run[@]}" --rm "$work/rootfs" "$id-2" sh -c 'exit 7'
expect "command not found" 1 'executable file not found in \$PATH' "${run[@]}" --rm "$work/rootfs" "$id-3" nonexistent
"${C[@]}" container rm "$id-3" >/dev/null 2>&1
expect "seccomp" 0 'Seccomp:.*2' "${run[@]}" --rm --seccomp "$work/rootfs" "$id-4" grep Seccomp: /proc/self/status
expect "memory limit" 0 '^67108864' "${run[@]}" --rm --memory-limit 67108864 --mount type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro "$work/rootfs" "$id-5" sh -c "$limits"
session "terminal" "${run[*]} -t --rm $work/rootfs $id-6 sh"
expect "detached" 0 '' "${run[@]}" -d "$work/rootfs" "$id" sleep 1000
expect "listed" 0 "$id .*RUNNING" "${C[@]}" task ls
expect "exec" 4 'uid=0' "${C[@]}" task exec --exec-id e1 "$id" sh -c 'id; exit 4'
session "exec on a terminal" "${C[*]} task exec -t --exec-id e2 $id sh"
expect "exec, not found" 1 'executable file not found in \$PATH' "${C[@]}" task exec --exec-id e3 "$id" nonexistent
expect "ps" 0 '^[0-9]+ ' "${C[@]}" task ps "$id"
expect "pause" 0 '' "${C[@]}" task pause "$id"
eventually "paused" status "$id" PAUSED
expect "exec in a paused one" 1 'paused' "${C[@]}" task exec --exec-id e4 "$id" true
expect "resume" 0 '' "${C[@]}" task resume "$id"
eventually "resumed" status "$id" RUNNING
expect "metrics" 0 'pids.current' "${C[@]}" task metrics "$id"
expect "kill" 0 '' "${C[@]}" task kill -s KILL "$id"
eventually "stopped" status "$id" STOPPED
expect "kill of what is stopped" 1 'not found' "${C[@]}" task kill -s KILL "$id"
expect "delete" 0 '' "${C[@]}" task rm "$id"
expect "delete the container" 0 '' "${C[@]}" container rm "$id"
no_state "nothing is left" "/run/containerd/runc/$cgroup"
no_cgroups "no cgroup is left"
finish containerd
