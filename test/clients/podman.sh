#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154 # lib.sh defines the variables; the containers expand the words
# Podman drives gcrun, with the drop-in that is shipped in contrib/.
. "$(dirname "$0")/lib.sh"
command -v podman >/dev/null || skip "needs podman"

# The drop-in as it is shipped, with the path of this build, and limits that a caller without CAP_SYS_RESOURCE has.
sed "s|/usr/local/bin/gcrun|$work/gcrun|" "$here/../../contrib/containers.conf" >"$work/containers.conf"
cat >>"$work/containers.conf" <<EOF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
EOF
sed -i 's|^\[engine\]$|[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"|' "$work/containers.conf"
export CONTAINERS_CONF=$work/containers.conf
before=$(ls /run/gcrun 2>/dev/null)
p() { podman --root "$work/root" --runroot "$work/run" "$@"; }
export -f p
export work
trap 'p rm -af >/dev/null 2>&1; p unmount -a >/dev/null 2>&1; umount "$work/root/overlay" 2>/dev/null; rm -rf "$work"' EXIT
fs=(--network none --rootfs "$work/rootfs:O")
P=(podman --root "$work/root" --runroot "$work/run")

expect "the runtime in use" 0 "gcrun version" "${P[@]}" info
expect "run" 0 '^hello$' "${P[@]}" run --rm "${fs[@]}" echo hello
expect "exit status" 7 '' "${P[@]}" run --rm "${fs[@]}" sh -c 'exit 7'
expect "killed by a signal" 137 '' "${P[@]}" run --rm "${fs[@]}" sh -c 'kill -9 $$ & wait; exit 137'
expect "command not found" 127 'executable file not found in \$PATH' "${P[@]}" run --rm "${fs[@]}" nonexistent
expect "absolute command not found" 127 'no such file or directory' "${P[@]}" run --rm "${fs[@]}" /nonexistent
expect "a directory as command" 126 'is a directory' "${P[@]}" run --rm "${fs[@]}" /etc
expect "memory and pids limits" 0 '^67108864 20$' "${P[@]}" run --rm --memory 64m --pids-limit 20 "${fs[@]}" sh -c 'echo $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null)'
expect "user" 0 'uid=1000 gid=1000|uid=1000\(1000\)' "${P[@]}" run --rm --user 1000:1000 "${fs[@]}" sh -c 'id; echo written >/dev/stdout'
expect "read-only root, volume and tmpfs" 1 'Read-only file system' "${P[@]}" run --rm --read-only --tmpfs /var -v "$work:/tmp:ro" "${fs[@]}" sh -c 'touch /var/x && touch /y'
expect "id maps" 0 '0 +100000 +1000' "${P[@]}" run --rm --uidmap 0:100000:1000 --gidmap 0:100000:1000 "${fs[@]}" cat /proc/self/uid_map
expect "privileged" 0 'CapEff:.*ffff' "${P[@]}" run --rm --privileged "${fs[@]}" grep CapEff /proc/self/status
expect "the host's processes" 0 '^[0-9]{2,}$' "${P[@]}" run --rm --pid host "${fs[@]}" sh -c 'ls -d /proc/[0-9]* | wc -l'
expect "terminal" 0 '/dev/pts/0' script -qec "${P[*]} run --rm -it ${fs[*]} sh -c 'tty; sleep 1'" /dev/null
expect "init" 0 'podman-init|catatonit|^1$|PID' "${P[@]}" run --rm "${fs[@]}" ps
expect "standard input" 0 '^from outside$' bash -c "echo from outside | ${P[*]} run --rm -i ${fs[*]} cat"
expect "many lines of output" 0 '^20000$' bash -c "${P[*]} run --rm ${fs[*]} seq 20000 | tail -1"

expect "detached" 0 '^[0-9a-f]{64}$' "${P[@]}" run -d --name c1 "${fs[@]}" sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done'
expect "exec" 5 '^inside$' "${P[@]}" exec c1 sh -c 'echo inside; exit 5'
expect "exec as a user" 0 'uid=7' "${P[@]}" exec --user 7 c1 id
expect "exec, not found" 127 'executable file not found in \$PATH' "${P[@]}" exec c1 nonexistent
expect "exec on a terminal" 0 '/dev/pts/' script -qec "${P[*]} exec -it c1 tty" /dev/null
expect "exec in the background" 0 '^[0-9a-f]{64}$' "${P[@]}" exec -d c1 sleep 100
expect "top" 0 'sleep 100' "${P[@]}" top c1
expect "stats" 0 'c1' "${P[@]}" stats --no-stream c1
expect "pause" 0 c1 "${P[@]}" pause c1
expect "paused" 0 paused "${P[@]}" inspect -f '{{.State.Status}}' c1
expect "unpause" 0 c1 "${P[@]}" unpause c1
expect "update" 0 '' "${P[@]}" update --memory 100m c1
expect "updated" 0 '^104857600' "${P[@]}" exec c1 sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true'
expect "stop" 0 c1 "${P[@]}" stop -t 10 c1
expect "exit status after stop" 0 '^5$' "${P[@]}" inspect -f '{{.State.ExitCode}}' c1
expect "start again" 0 c1 "${P[@]}" start c1
expect "kill" 0 c1 "${P[@]}" kill c1
expect "wait" 0 '^137$' "${P[@]}" wait c1
expect "rm" 0 c1 "${P[@]}" rm -f c1
expect "preserved descriptors" 0 '^secret$' bash -c "exec 3<<<secret; ${P[*]} run --rm --preserve-fds 1 ${fs[*]} sh -c 'cat <&3'"
expect "/dev/null is the host's root's" 0 '^0:0$' stat -c %u:%g /dev/null
expect "nothing is left" 0 '^same$' bash -c "[ \"\$(ls /run/gcrun 2>/dev/null)\" = '$before' ] && echo same"
finish podman
