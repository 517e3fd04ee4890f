#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154 # lib.sh defines the variables; the containers expand the words
# dockerd drives gcrun, with the daemon.json that is shipped in contrib/. Its network namespace is the test's, where
# it may make its bridge.
. "$(dirname "$0")/lib.sh"
needs dockerd docker.io docker docker-cli containerd containerd

sed "s|/usr/local/bin/gcrun|$work/gcrun|" "$here/../../contrib/daemon.json" >"$work/daemon.json"
mkdir -p /run/docker
dockerd --config-file "$work/daemon.json" --data-root "$work/data" --exec-root /run/docker --pidfile "$work/pid" \
    -H "unix://$work/d.sock" --storage-driver vfs --iptables=false --ip6tables=false --cgroup-parent "/$cgroup" >"$work/log" 2>&1 &
D=(docker -H "unix://$work/d.sock")
await "${D[@]}" version || { tail -5 "$work/log"; exit 1; }
leave() { "${D[@]}" ps -aq | xargs -r "${D[@]}" rm -f; }
tar -C "$work/rootfs" -c . | "${D[@]}" import - probe >/dev/null || { tail -5 "$work/log"; exit 1; }
run=("${D[@]}" run --network none)

expect "the default runtime" 0 '^gcrun$' "${D[@]}" info -f '{{.DefaultRuntime}}'
expect "run" 0 '^hello$' "${run[@]}" --rm probe echo hello
expect "exit status" 7 '' "${run[@]}" --rm probe sh -c 'exit 7'
expect "command not found" 127 'executable file not found in \$PATH' "${run[@]}" --rm probe nonexistent
expect "absolute command not found" 127 'no such file or directory' "${run[@]}" --rm probe /nonexistent
expect "a directory as command" 126 'is a directory|permission denied' "${run[@]}" --rm probe /etc
expect "network of the bridge" 0 'inet 172\.' "${D[@]}" run --rm probe ip addr show eth0
session "terminal" "${run[*]} --rm -it probe sh"
expect "limits" 0 '^67108864 20$' "${run[@]}" --rm --memory 64m --pids-limit 20 probe sh -c "$limits"
expect "user" 0 'uid=7 gid=8' "${run[@]}" --rm --user 7:8 probe id
expect "read-only root, volume and tmpfs" 1 'Read-only file system' "${run[@]}" --rm --read-only --tmpfs /var -v "$work:/tmp:ro" probe sh -c 'touch /var/x && touch /y'
expect "seccomp" 1 'not permitted' "${run[@]}" --rm probe unshare -U true
expect "init" 0 'docker-init' "${run[@]}" --rm --init probe ps
expect "standard input" 0 '^from outside$' bash -c "echo from outside | ${run[*]} --rm -i probe cat"
expect "detached" 0 '^[0-9a-f]{64}$' "${run[@]}" -d --name c1 --health-cmd true --health-interval 1s probe sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done'
expect "exec" 5 '^inside$' "${D[@]}" exec c1 sh -c 'echo inside; exit 5'
expect "exec as a user" 0 'uid=7' "${D[@]}" exec --user 7 c1 id
expect "exec, not found" '12[67]' 'executable file not found in \$PATH' "${D[@]}" exec c1 nonexistent
session "exec on a terminal" "${D[*]} exec -it c1 sh"
expect "top" 0 sleep "${D[@]}" top c1
expect "stats" 0 'c1 .*[1-9]' "${D[@]}" stats --no-stream --format '{{.Name}} {{.PIDs}}' c1
expect "pause" 0 c1 "${D[@]}" pause c1
expect "paused" 0 '^paused$' "${D[@]}" inspect -f '{{.State.Status}}' c1
expect "unpause" 0 c1 "${D[@]}" unpause c1
expect "update" 0 c1 "${D[@]}" update --memory 100m --memory-swap 200m --cpus 0.5 --pids-limit 77 c1
expect "updated" 0 '^104857600 77$' "${D[@]}" exec c1 sh -c "$limits"
eventually "health check" is healthy "${D[@]}" inspect -f '{{.State.Health.Status}}' c1
expect "stop" 0 c1 "${D[@]}" stop -t 60 c1
expect "exit status after stop" 0 '^5$' "${D[@]}" inspect -f '{{.State.ExitCode}}' c1
expect "start again" 0 c1 "${D[@]}" start c1
expect "kill" 0 c1 "${D[@]}" kill c1
expect "exit status after kill" 0 '^137$' "${D[@]}" wait c1
expect "rm" 0 c1 "${D[@]}" rm -f c1
expect "restart policy" 0 '' "${run[@]}" -d --name c2 --restart on-failure:2 probe sh -c 'exit 3'
eventually "restarted" is 2exited "${D[@]}" inspect -f '{{.RestartCount}}{{.State.Status}}' c2
expect "rm of the restarted" 0 c2 "${D[@]}" rm -f c2
expect "rm of what runs" 0 '' bash -c "${run[*]} -d --name c3 --restart always probe sleep 1000 && ${D[*]} rm -f c3"
no_state "nothing is left" /run/docker/runtime-runc/moby
no_cgroups "no cgroup is left"
finish docker
