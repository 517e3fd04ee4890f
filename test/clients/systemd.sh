#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154,SC2034 # lib.sh defines the variables; the containers expand the words
# Podman drives gcrun under systemd, which makes the containers' cgroups: as root in a service, as an ordinary user in the
# session of the user's own manager. With the drop-in that is shipped in contrib/.
apart=no
. "$(dirname "$0")/lib.sh"
. "$here/podman-lib.sh"
needs podman podman conmon conmon systemctl systemd newuidmap uidmap
[ -d /run/systemd/system ] || skip "needs systemd as init"
manager=(systemctl)
if [ "$(id -u)" != 0 ]; then
    manager+=(--user)
    "${manager[@]}" show-environment >/dev/null 2>&1 || skip "needs the user's own systemd manager"
fi
[ -e /sys/fs/cgroup/cgroup.controllers ] || skip "needs cgroup v2"

sed -e "s|/usr/local/bin/gcrun|$work/gcrun|" -e "s|^\[engine\]\$|[engine]\ncgroup_manager = \"systemd\"\nevents_logger = \"file\"\nconmon_env_vars = [\"TMPDIR=$work\"]|" \
    "$here/../../contrib/containers.conf" >"$work/containers.conf"
export CONTAINERS_CONF=$work/containers.conf
P=(podman --root "$work/root" --runroot "$work/run" --tmpdir "$work/tmp")
leave() {
    "${P[@]}" rm -af -t 0
    if [ "$(id -u)" = 0 ]; then
        awk -v dir="$work/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | tac | xargs -r umount -l
    else
        "${P[@]}" unshare rm -rf "$work/root"
        "${P[@]}" system migrate # ends the process that holds the user's namespaces
    fi
}
fs=(--network none --rootfs "$work/rootfs:O")
run=("${P[@]}" run)

expect "the runtime in use" 0 "gcrun version" "${P[@]}" info
expect "who makes cgroups" 0 "^systemd v2$" "${P[@]}" info --format '{{.Host.CgroupManager}} {{.Host.CgroupsVersion}}'
expect "run" 0 '^hello$' "${run[@]}" --rm "${fs[@]}" echo hello
expect "exit status" 7 '' "${run[@]}" --rm "${fs[@]}" sh -c 'exit 7'
expect "command not found" 127 'executable file not found in \$PATH' "${run[@]}" --rm "${fs[@]}" nonexistent
expect "memory and pids limits" 0 '^67108864 20$' "${run[@]}" --rm --memory 64m --pids-limit 20 "${fs[@]}" sh -c "$limits"
expect "share and limit of processor time" 0 '^50000 100000 59$' "${run[@]}" --rm --cpus 0.5 --cpu-shares 512 "${fs[@]}" sh -c 'echo $(cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu.weight)'
expect "what runs out of memory is killed" 137 '' "${run[@]}" --rm --memory 32m --memory-swap 32m "${fs[@]}" sh -c 'exec tail -c 200m </dev/zero'
session "terminal" "${run[*]} --rm -it ${fs[*]} sh"
expect "a scope" 0 '^[0-9a-f]{64}$' "${run[@]}" -d --name c0 --memory 48m "${fs[@]}" sleep 1000
scope=libpod-$("${P[@]}" inspect -f '{{.Id}}' c0).scope
expect "its cgroup" 0 "/$scope(/container)?\$" "${P[@]}" inspect -f '{{.State.CgroupPath}}' c0
expect "systemd knows it" 0 '^active$' "${manager[@]}" show -P ActiveState "$scope"
expect "and its limit" 0 '^50331648$' "${manager[@]}" show -P MemoryMax "$scope"
expect "removed" 0 c0 "${P[@]}" rm -f -t 0 c0
eventually "the scope is gone" is inactive "${manager[@]}" show -P ActiveState "$scope"
lifetime cgroups
pod --rootfs "$work/rootfs:O"
no_state "nothing is left" "$([ "$(id -u)" = 0 ] && echo /run/gcrun || echo "$XDG_RUNTIME_DIR/gcrun")"
finish systemd
