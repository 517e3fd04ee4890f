# Shared by the tests of the clients: builds gcrun, makes a root filesystem of busybox, and counts what is right.
# shellcheck shell=bash
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/gcr-client.XXXXXX")
good=0 bad=0

skip() { echo "skip: $*"; exit 0; }

[ "$(id -u)" = 0 ] || skip "needs root"
command -v busybox >/dev/null || skip "needs busybox (Debian package busybox-static)"
(cd "$here/../.." && CGO_ENABLED=0 go build -o "$work/gcrun" ./gcrun) || exit 1

mkdir -p "$work"/rootfs/{bin,dev,etc,proc,root,sys,tmp,var,run}
cp "$(command -v busybox)" "$work/rootfs/bin/busybox"
"$work/rootfs/bin/busybox" --install -s "$work/rootfs/bin" 2>/dev/null
for link in "$work"/rootfs/bin/*; do [ -L "$link" ] && ln -sf busybox "$link"; done
echo root:x:0:0:root:/root:/bin/sh >"$work/rootfs/etc/passwd"
# Engines bind these; a container with mapped ids could not make them.
touch "$work"/rootfs/etc/{hosts,resolv.conf,hostname} "$work/rootfs/run/.containerenv"
mkdir -p "$work/rootfs/run/secrets"

# expect WHAT STATUS PATTERN COMMAND...: the command ends with the status, and what it prints matches the pattern.
expect() {
    local what=$1 status=$2 pattern=$3 out code
    shift 3
    out=$(timeout 60 "$@" </dev/null 2>&1)
    code=$?
    if [[ $code =~ ^($status)$ ]] && grep -Eq -- "$pattern" <<<"$out"; then
        good=$((good + 1))
        return
    fi
    bad=$((bad + 1))
    printf 'FAIL %s: status %s (want %s), output does not match %s:\n%s\n' "$what" "$code" "$status" "$pattern" "$out"
}

finish() {
    printf '%s: %d right, %d wrong\n' "$1" "$good" "$bad"
    [ "$bad" = 0 ]
}
