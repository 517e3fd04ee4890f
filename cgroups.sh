#!/usr/bin/env bash
# cgroups.sh: see a control group (cgroup) at work, with nothing but a shell. It needs no gcr.
#
#     ./cgroups.sh [SECONDS]         as yourself on cgroup v2; with sudo on cgroup v1
#
# It makes a cgroup that allows five processes, moves itself into it, and starts ten. The kernel refuses to
# make a sixth, so bash waits and tries again: "fork: retry: Resource temporarily unavailable". Then it
# shows who is in the cgroup, sleeps for SECONDS (default 5), moves itself back, and removes the cgroup.
# "gcr run --pids-limit 5" does the same to a container.

set -u
seconds=${1:-5}
case $seconds in '' | *[!0-9]*) echo "usage: $0 [SECONDS]" >&2; exit 2 ;; esac

say() { printf '\n# %s\n' "$*"; }
die() { printf '%s: %s\n' "$0" "$1" >&2; exit 1; }

# A cgroup is a directory. Its settings are files: write to them to change it, read them to see it. Where the
# directories are depends on the version. These are the lines of /proc/self/cgroup, HIERARCHY:CONTROLLERS:PATH,
# and of /proc/self/mountinfo, whose end is "- TYPE SOURCE OPTIONS".
own_path() { # CONTROLLERS ("" for v2): the path of the cgroup that this shell is in
    local controllers path
    while IFS=: read -r _ controllers path; do
        [ "$controllers" = "$1" ] && printf '%s' "$path" && return
    done </proc/self/cgroup
    return 1
}
mounted() { # TYPE [CONTROLLER]: where a hierarchy is mounted
    local line dir type options
    while read -r line; do
        read -r _ _ _ _ dir _ <<<"$line"
        read -r type _ options <<<"${line##* - }"
        [ "$type" = "$1" ] || continue
        case ",$options," in *",${2:-},"*) printf '%s' "$dir" && return ;; esac
        [ -z "${2:-}" ] && printf '%s' "$dir" && return
    done </proc/self/mountinfo
    return 1
}

leaf='' # on v2: a cgroup for this shell to be in while it is not in the limited one
if tree=$(mounted cgroup pids); then
    # Version 1: the controller "pids" has a tree of its own.
    [ "$UID" = 0 ] || die "this machine has cgroup v1, where only root may make cgroups; run: sudo $0"
    origin=$tree$(own_path pids)
    [ -d "$origin" ] || origin=$tree # in a container the path can be the host's
    origin=${origin%/}
    parent=$origin
elif tree=$(mounted cgroup2); then
    # Version 2: one tree for all controllers. Root may work in all of it, others below a cgroup that was delegated
    # (given) to them.
    origin=$tree$(own_path '')
    origin=${origin%/}
    parent=$origin
    mapfile -t processes <"$origin/cgroup.procs"
    if [ "$UID" = 0 ]; then
        parent=$tree
    elif [ ! -w "$origin/cgroup.subtree_control" ] || [ "${#processes[@]}" -gt 1 ]; then
        # Not ours, or not for this shell alone. Ask systemd for a cgroup that is, which it calls a scope.
        export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$UID}
        [ -z "${CGROUPS_SH_IN_SCOPE:-}" ] || die "systemd made a scope, but did not delegate it: $origin"
        [ -S "$XDG_RUNTIME_DIR/systemd/private" ] || die "no cgroup is delegated to you, and you have no systemd manager to ask for one; run: sudo $0"
        say "systemd-run --user --scope: asking systemd for a cgroup of our own"
        export CGROUPS_SH_IN_SCOPE=1
        exec systemd-run --user --scope --quiet --collect --property=Delegate=yes -- "$BASH" "$0" "$seconds"
    fi
    grep -qw pids "$parent/cgroup.controllers" || die "the controller pids was not delegated to $parent; run: sudo $0"
else
    die "no cgroup file system with the controller pids is mounted"
fi

# What an earlier run left that was killed outright. rmdir removes a cgroup only when no process is in it.
for old in "$parent"/gcr-demo.*; do
    [ -d "$old" ] && ! kill -0 "${old##*.}" 2>/dev/null && rmdir "$old" 2>/dev/null
done
demo=$parent/gcr-demo.$$
home=$origin # where this shell goes back to
enabled=''

clean_up() {
    trap '' INT TERM HUP
    local pid
    if [ -d "$demo" ]; then
        # Out of the limited cgroup first: in it, there may be no process left to clean up with.
        echo $$ >"$home/cgroup.procs"
        while read -r pid; do kill -KILL "$pid" 2>/dev/null; done <"$demo/cgroup.procs"
        local tries
        for ((tries = 0; tries < 100; tries++)); do # they end a moment later
            rmdir "$demo" 2>/dev/null && break
            sleep 0.1
        done
    fi
    [ -n "$enabled" ] && echo -pids >"$parent/cgroup.subtree_control"
    if [ -n "$leaf" ] && [ -d "$leaf" ]; then
        echo $$ >"$origin/cgroup.procs"
        rmdir "$leaf"
    fi
}
trap clean_up EXIT
# Ctrl-C, kill and a closed terminal end the script, and with it run clean_up.
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

if [ -e "$parent/cgroup.subtree_control" ]; then
    # Version 2 again: a cgroup hands a controller to its children by name, and then must not hold processes itself
    # ("no internal processes"; the root of the tree is exempt). So this shell moves into a child, a leaf.
    if ! grep -qw pids "$parent/cgroup.subtree_control"; then
        if [ -e "$parent/cgroup.type" ]; then # the root of the tree has no such file
            leaf=$parent/gcr-demo-shell.$$ home=$leaf
            mkdir "$leaf" || die "make the cgroup $leaf: not allowed"
            echo $$ >"$leaf/cgroup.procs" || exit 1
        fi
        echo +pids >"$parent/cgroup.subtree_control" || die "hand the controller pids to the children of $parent: refused; does it hold other processes?"
        enabled=1
    fi
fi

say "mkdir $demo"
mkdir "$demo" || die "make the cgroup $demo: not allowed"
say "echo 5 > pids.max: five processes at most"
echo 5 >"$demo/pids.max" || exit 1
say "echo \$\$ > cgroup.procs: this shell, $$, moves in, and all that it starts from now on begins there"
echo $$ >"$demo/cgroup.procs" || exit 1

# From here on every process counts, so only bash's own commands (read, echo, printf) are used: "cat" would need a
# process of its own.
show() { # FILE: its lines, in one
    local line all=''
    while read -r line; do all+=" $line"; done <"$demo/$1"
    printf '%s:%s\n' "$1" "$all"
}

say "starting ten background processes: as many as fit at first, the others when these have ended"
for n in 1 2 3 4 5 6 7 8 9 10; do
    # exec: the sleep takes the place of its shell, so that each of the ten is one process.
    # ( … & ): a subshell starts it and ends, so bash is not told when it ends. That would interrupt bash's waiting
    # between two tries, and make it give up.
    ({ echo "background process $n of 10 runs as pid $BASHPID"; exec sleep 0.5; } &)
done

say "bash got all ten started. Who is there now:"
show pids.current
show cgroup.procs
show pids.max
show pids.events # "max N": the kernel said no N times

say "sleeping for $seconds s; look from another terminal: cat $demo/cgroup.procs"
for ((; seconds > 0; seconds--)); do sleep 1; done # bash acts on a signal between two commands
while read -r count <"$demo/pids.current" && [ "$count" -gt 1 ]; do sleep 0.2; done
say "moving this shell back, and removing the cgroup: rmdir $demo"
