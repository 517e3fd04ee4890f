# Shared by the tests of Podman, after lib.sh: what one does with a container that runs. P is podman with its options, run its
# command run, fs the options that give a container its root filesystem.
# shellcheck shell=bash disable=SC2154,SC2016

# lifetime WHAT: a container from its start to its removal; "cgroups" as WHAT: with what needs a cgroup of its own.
lifetime() {
    expect "detached" 0 '^[0-9a-f]{64}$' "${run[@]}" -d --name c1 "${fs[@]}" sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done'
    expect "exec" 5 '^inside$' "${P[@]}" exec c1 sh -c 'echo inside; exit 5'
    expect "exec as a user" 0 'uid=7' "${P[@]}" exec --user 7 c1 id
    expect "exec, not found" 127 'executable file not found in \$PATH' "${P[@]}" exec c1 nonexistent
    session "exec on a terminal" "${P[*]} exec -it c1 sh"
    expect "exec in the background" 0 '^[0-9a-f]{64}$' "${P[@]}" exec -d c1 sleep 100
    expect "top" 0 'sleep 100' "${P[@]}" top c1
    if [ "${1:-}" = cgroups ]; then limited; fi
    expect "stop" 0 c1 "${P[@]}" stop -t 60 c1
    expect "exit status after stop" 0 '^5$' "${P[@]}" inspect -f '{{.State.ExitCode}}' c1
    expect "start again" 0 c1 "${P[@]}" start c1
    expect "kill" 0 c1 "${P[@]}" kill c1
    expect "wait" 0 '^137$' "${P[@]}" wait c1
    expect "rm" 0 c1 "${P[@]}" rm -f c1
}

# limited: measurements, the freezer and limits of c1.
limited() {
    expect "stats" 0 '"(name|Name)": "c1"' "${P[@]}" stats --no-stream --format json c1
    expect "pause" 0 c1 "${P[@]}" pause c1
    expect "paused" 0 paused "${P[@]}" inspect -f '{{.State.Status}}' c1
    expect "exec into what is paused" '[1-9].*' 'running' "${P[@]}" exec c1 true
    expect "unpause" 0 c1 "${P[@]}" unpause c1
    expect "unpaused" 0 running "${P[@]}" inspect -f '{{.State.Status}}' c1
    # Podman has update since 4.3, and its --pids-limit since 5.0.
    expect "update" 0 '' "${P[@]}" update --memory 100m --cpus 0.5 c1
    expect "updated" 0 '^104857600' "${P[@]}" exec c1 sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true'
    if "${P[@]}" update --help | grep -q pids-limit; then
        expect "update of the number of processes" 0 '' "${P[@]}" update --pids-limit 33 c1
        expect "the number of processes" 0 ' 33$' "${P[@]}" exec c1 sh -c "$limits"
    fi
}

# pod FILESYSTEM-OPTION...: two containers that share namespaces.
pod() {
    expect "a pod" 0 '^[0-9a-f]{64}$' "${P[@]}" pod create --name p1 --network none
    expect "in a pod" 0 '^[0-9a-f]{64}$' "${run[@]}" -d --name c2 --pod p1 "$@" sleep 1000
    local one two
    one=$("${P[@]}" exec c2 readlink /proc/self/ns/ipc)
    two=$("${P[@]}" run --rm --pod p1 "$@" readlink /proc/self/ns/ipc)
    if [[ $one == ipc:* && $one == "$two" ]]; then right "namespaces of a pod"; else wrong "namespaces of a pod" "$one and $two"; fi
    expect "rm of the pod" 0 '' "${P[@]}" pod rm -f -t 0 p1
}
