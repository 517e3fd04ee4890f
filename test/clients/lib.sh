# Shared by the tests of the clients: a place of their own, gcrun, a root filesystem of busybox, and a count of what
# is right.
#
# A test runs in PID, mount, network and IPC namespaces of its own, with a /run of its own: its daemons see nothing of
# the host's engines, and when it ends, in whatever way, the kernel ends all that it started and unmounts all that it
# mounted. Cgroups are not namespaced so; each test has one of its own, $cgroup, and removes it.
#
# From the outside come GCR_CLIENT_GCRUN (the program; built when it is not given), GCR_CLIENT_CGROUP (the name of
# the cgroup) and TMPDIR.
# shellcheck shell=bash disable=SC2016 # the containers expand the words
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$PATH:/usr/sbin:/sbin

skip() {
    echo "skip: $*"
    exit 0
}

# needs PROGRAM PACKAGE...: skips when a program is missing.
needs() {
    while [ $# -gt 0 ]; do
        command -v "$1" >/dev/null || skip "needs $1 (Debian package $2)"
        shift 2
    done
}

apart=${apart:-yes}
[ "$apart" = no ] || [ "$(id -u)" = 0 ] || skip "needs root"
needs busybox busybox-static unshare util-linux script bsdutils ip iproute2

if [ "${GCR_CLIENT_INSIDE:-}" = "" ]; then
    if [ "${GCR_CLIENT_GCRUN:-}" = "" ]; then
        GCR_CLIENT_GCRUN=$(mktemp -d)/gcrun
        (cd "$here/../.." && CGO_ENABLED=0 go build -o "$GCR_CLIENT_GCRUN" ./gcrun) || exit 1
    fi
    # What a test builds itself it builds here, where there is a network: a function of the name outside.
    if declare -F outside >/dev/null; then
        GCR_CLIENT_PROGRAMS=$(mktemp -d)
        export GCR_CLIENT_PROGRAMS
        outside || exit 1
    fi
    export GCR_CLIENT_GCRUN GCR_CLIENT_CGROUP="${GCR_CLIENT_CGROUP:-gcr-client-$$}"
    [ "$apart" = no ] || GCR_CLIENT_INSIDE=1 exec unshare --mount --pid --net --ipc --fork --kill-child --mount-proc bash "$0" "$@"
fi

if [ "$apart" = yes ]; then
    # All that is killed below must be the test's own.
    [ $$ = 1 ] || exit 1
    mount -t tmpfs -o mode=755 tmpfs /run || exit 1
    mkdir -p /run/lock
    # Some runtimes give the null device to a container's user: here it is nobody's but this test's.
    mknod -m 666 /run/null c 1 3 && mount --bind /run/null /dev/null || exit 1
    ip link set lo up
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/gcr-client.XXXXXX")
cgroup=$GCR_CLIENT_CGROUP
good=0 bad=0
cp "$GCR_CLIENT_GCRUN" "$work/gcrun"

mkdir -p "$work"/rootfs/{bin,dev,etc,proc,root,sys,tmp,var,run}
cp "$(command -v busybox)" "$work/rootfs/bin/busybox"
"$work/rootfs/bin/busybox" --install -s "$work/rootfs/bin" 2>/dev/null
for link in "$work"/rootfs/bin/*; do [ -L "$link" ] && ln -sf busybox "$link"; done
echo root:x:0:0:root:/root:/bin/sh >"$work/rootfs/etc/passwd"
# Engines bind these; a container with mapped ids could not make them.
touch "$work"/rootfs/etc/{hosts,resolv.conf,hostname} "$work/rootfs/run/.containerenv"
mkdir -p "$work/rootfs/run/secrets"

# cleanup is what `finish` and an early end have in common. A test defines `leave` for what it has of its own.
leave() { :; }
cleanup() {
    leave >/dev/null 2>&1
    if [ "$apart" = no ]; then
        rm -rf "$work"
        return
    fi
    find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null
    # The daemons end first; what they have mounted would be in the way.
    kill -TERM -1 2>/dev/null
    await alone || kill -KILL -1 2>/dev/null
    awk -v dir="$work/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | tac | xargs -r umount -l
    rm -rf "$work" "${GCR_CLIENT_PROGRAMS:-$work}"
}
# alone: there is no process but this one.
alone() {
    set -- /proc/[0-9]*
    [ $# = 1 ]
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# right and wrong WHAT [DETAIL]: count, and tell.
right() {
    good=$((good + 1))
    echo "ok $1"
}
wrong() {
    bad=$((bad + 1))
    printf 'FAIL %s\n' "$1"
    shift
    printf '    %s\n' "$@"
}

# await COMMAND...: waits until the command succeeds, for as long as no healthy machine needs.
await() {
    for _ in $(seq 900); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "waited in vain for: $*"
    return 1
}

# is WANT COMMAND...: the command prints just that.
is() {
    local want=$1
    shift
    [ "$("$@" 2>/dev/null)" = "$want" ]
}

# expect WHAT STATUS PATTERN COMMAND...: the command ends with the status, and what it prints matches the pattern.
expect() {
    local what=$1 status=$2 pattern=$3 out code
    shift 3
    out=$(timeout 120 "$@" </dev/null 2>&1)
    code=$?
    if [[ $code =~ ^($status)$ ]] && grep -Eq -- "$pattern" <<<"$out"; then
        right "$what"
    else
        wrong "$what" "status $code, want $status; output, which shall match $pattern:" "$out"
    fi
}

# eventually WHAT COMMAND...: the command succeeds after some time.
eventually() {
    local what=$1 out
    shift
    if out=$(await "$@"); then right "$what"; else wrong "$what" "$out"; fi
}

# session WHAT COMMAND...: the command gives an interactive shell on a terminal; a person types into it and leaves
# with status 3. The size is what the person's terminal has.
session() {
    local what=$1 n=$((good + bad)) pid code=none typed
    shift
    typed=$work/typed.$n
    mkfifo "$typed"
    script -qefc "stty rows 33 cols 77; exec $*" "$work/screen.$n" <"$typed" >/dev/null 2>&1 &
    pid=$!
    exec 9>"$typed"
    # shellcheck disable=SC2317 # await calls it
    prompted() { grep -q '[#$] ' "$work/screen.$n" || ! kill -0 "$pid"; }
    if await prompted && kill -0 "$pid" 2>/dev/null; then
        echo 'tty; echo size $(stty size)' >&9
        await grep -q 'size 33 77' "$work/screen.$n"
        echo 'exit 3' >&9
    fi
    exec 9>&-
    if await not kill -0 "$pid"; then
        wait "$pid"
        code=$?
    fi
    if [ "$code" = 3 ] && grep -q '/dev/pts/0' "$work/screen.$n" && grep -q 'size 33 77' "$work/screen.$n"; then
        right "$what"
    else
        wrong "$what" "status $code, want 3; the screen, which shall have /dev/pts/0 and size 33 77:" "$(tr -d "\0" <"$work/screen.$n")"
    fi
}
not() { ! "$@"; }

# limits prints the memory limit and that of processes as a process inside sees them, whatever the version of cgroups.
# shellcheck disable=SC2034 # used by the tests
limits='echo $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null)'

# no_cgroups WHAT: no container's cgroup is left below the test's own.
no_cgroups() {
    local left
    left=$(find /sys/fs/cgroup -type d -path "*/$cgroup/*" ! -name conmon ! -path "*/$cgroup/default" 2>/dev/null)
    if [ -z "$left" ]; then right "$1"; else wrong "$1" "$left"; fi
}

# no_state WHAT DIR: gcrun has no container in the directory of its state.
no_state() {
    local left
    left=$(find "$2" -mindepth 1 2>/dev/null)
    if [ -z "$left" ]; then right "$1"; else wrong "$1" "$left"; fi
}

finish() {
    printf '%s: %d right, %d wrong\n' "$1" "$good" "$bad"
    [ "$bad" = 0 ]
}
