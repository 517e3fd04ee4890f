#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154 # lib.sh defines the variables; the containers expand the words
# Podman drives gcrun as root, with the drop-in that is shipped in contrib/.
. "$(dirname "$0")/lib.sh"
. "$here/podman-lib.sh"
needs podman podman conmon conmon

# The drop-in as it is shipped, with the path of this build, and limits that a caller without CAP_SYS_RESOURCE has.
sed -e "s|/usr/local/bin/gcrun|$work/gcrun|" -e 's|^\[engine\]$|[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"|' \
    "$here/../../contrib/containers.conf" >"$work/containers.conf"
cat >>"$work/containers.conf" <<EOT
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
EOT
export CONTAINERS_CONF=$work/containers.conf
P=(podman --root "$work/root" --runroot "$work/run")
leave() { "${P[@]}" rm -af; }
fs=(--network none --rootfs "$work/rootfs:O")
run=("${P[@]}" run --cgroup-parent "/$cgroup")
status() { [ "$("${P[@]}" inspect -f '{{.State.Status}}' "$1")" = "$2" ]; }

expect "the runtime in use" 0 "gcrun version" "${P[@]}" info
expect "run" 0 '^hello$' "${run[@]}" --rm "${fs[@]}" echo hello
expect "exit status" 7 '' "${run[@]}" --rm "${fs[@]}" sh -c 'exit 7'
expect "killed by a signal" 137 '' "${run[@]}" --rm --init "${fs[@]}" sh -c 'kill -9 $$'
expect "command not found" 127 'executable file not found in \$PATH' "${run[@]}" --rm "${fs[@]}" nonexistent
expect "absolute command not found" 127 'no such file or directory' "${run[@]}" --rm "${fs[@]}" /nonexistent
expect "a directory as command" 126 'is a directory' "${run[@]}" --rm "${fs[@]}" /etc
expect "memory and pids limits" 0 '^67108864 20$' "${run[@]}" --rm --memory 64m --pids-limit 20 "${fs[@]}" sh -c "$limits"
expect "no cgroup" 0 '^hello$' "${P[@]}" run --rm --cgroups=disabled "${fs[@]}" echo hello
expect "user" 0 'uid=1000 gid=1000|uid=1000\(1000\)' "${run[@]}" --rm --user 1000:1000 "${fs[@]}" sh -c 'id; echo written >/dev/stdout'
expect "read-only root, volume and tmpfs" 1 'Read-only file system' "${run[@]}" --rm --read-only --tmpfs /var -v "$work:/tmp:ro" "${fs[@]}" sh -c 'touch /var/x && touch /y'
expect "id maps" 0 '0 +100000 +1000' "${run[@]}" --rm --uidmap 0:100000:1000 --gidmap 0:100000:1000 "${fs[@]}" cat /proc/self/uid_map
expect "privileged" 0 'CapEff:.*ffff' "${run[@]}" --rm --privileged "${fs[@]}" grep CapEff /proc/self/status
expect "the host's processes" 0 '^[0-9]{2,}$' "${run[@]}" --rm --pid host "${fs[@]}" sh -c 'echo $$'
session "terminal" "${run[*]} --rm -it ${fs[*]} sh"
expect "init" 0 'podman-init|catatonit' "${run[@]}" --rm --init "${fs[@]}" ps
expect "standard input" 0 '^from outside$' bash -c "echo from outside | ${run[*]} --rm -i ${fs[*]} cat"
expect "many lines of output" 0 '^20000$' bash -c "${run[*]} --rm ${fs[*]} seq 20000 | tail -1"

lifetime cgroups
# With cgroup v2 and without systemd Podman 4.3 forbids all devices in a pod's cgroup: crun fails there as well.
[ -e /sys/fs/cgroup/cgroup.controllers ] || pod --rootfs "$work/rootfs:O"
expect "a health check" 0 '' "${run[@]}" -d --name c3 --health-cmd 'echo well' --health-interval disable "${fs[@]}" sleep 1000
expect "healthy" 0 '' "${P[@]}" healthcheck run c3
expect "rm of what runs" 0 c3 "${P[@]}" rm -f -t 0 c3
expect "preserved descriptors" 0 '^secret$' bash -c "exec 3<<<secret; ${run[*]} --rm --preserve-fds 1 ${fs[*]} sh -c 'cat <&3'"
expect "/dev/null is the host's root's" 0 '^0:0$' stat -c %u:%g /dev/null
no_state "nothing is left" /run/gcrun
no_cgroups "no cgroup is left"
finish podman
