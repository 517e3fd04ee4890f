#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154 # lib.sh defines the variables; the containers expand the words
# Buildah drives gcrun with --isolation oci.
. "$(dirname "$0")/lib.sh"
command -v buildah >/dev/null || skip "needs buildah"

cat >"$work/containers.conf" <<EOF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
EOF
export CONTAINERS_CONF=$work/containers.conf
B=(buildah --root "$work/root" --runroot "$work/run" --storage-driver vfs)
trap '"${B[@]}" rm -a >/dev/null 2>&1; rm -rf "$work"' EXIT
c=$("${B[@]}" from scratch) || skip "buildah from scratch does not work here"
m=$("${B[@]}" mount "$c")
case $m in
"$work"/?*) cp -a "$work/rootfs/." "$m/" ;;
*) skip "buildah mount gives no directory of ours" ;;
esac
run=("${B[@]}" run --isolation oci --runtime "$work/gcrun" --network host "$c")

expect "run" 0 '^hello$' "${run[@]}" echo hello
expect "exit status" 9 '' "${run[@]}" sh -c 'exit 9'
expect "what it writes stays" 0 '' "${run[@]}" sh -c 'echo kept >/file'
expect "what was written" 0 '^kept$' "${run[@]}" cat /file
expect "command not found" 1 'executable file not found in \$PATH' "${run[@]}" nonexistent
expect "descriptors" 0 '^0 1 2 3$' "${run[@]}" sh -c 'echo $(ls /proc/self/fd)'
expect "environment" 0 '^x y$' "${B[@]}" run --isolation oci --runtime "$work/gcrun" --network host --env A='x y' "$c" sh -c 'echo $A'
expect "terminal" 0 '/dev/pts/0' script -qec "${B[*]} run --isolation oci --runtime $work/gcrun --network host -t $c tty" /dev/null
expect "volume" 0 '^root:' "${B[@]}" run --isolation oci --runtime "$work/gcrun" --network host -v "$work/rootfs/etc:/mnt:ro" "$c" cat /mnt/passwd
finish buildah
