#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154 # lib.sh defines the variables; the containers expand the words
# Buildah drives gcrun with --isolation oci.
. "$(dirname "$0")/lib.sh"
needs buildah buildah

cat >"$work/containers.conf" <<EOT
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
EOT
export CONTAINERS_CONF=$work/containers.conf
B=(buildah --root "$work/root" --runroot "$work/run" --storage-driver vfs)
leave() { "${B[@]}" rm -a; }
c=$("${B[@]}" from scratch) || exit 1
m=$("${B[@]}" mount "$c")
case $m in
"$work"/?*) cp -a "$work/rootfs/." "$m/" ;;
*)
    echo "buildah mount gives no directory of ours: $m"
    exit 1
    ;;
esac
run=("${B[@]}" run --isolation oci --runtime "$work/gcrun" --network host)

expect "run" 0 '^hello$' "${run[@]}" "$c" echo hello
expect "exit status" 9 '' "${run[@]}" "$c" sh -c 'exit 9'
expect "what it writes stays" 0 '' "${run[@]}" "$c" sh -c 'echo kept >/file'
expect "what was written" 0 '^kept$' "${run[@]}" "$c" cat /file
expect "command not found" 1 'executable file not found in \$PATH' "${run[@]}" "$c" nonexistent
expect "descriptors" 0 '^0 1 2 3$' "${run[@]}" "$c" sh -c 'echo $(ls /proc/self/fd)'
expect "environment" 0 '^x y$' "${run[@]}" --env A='x y' "$c" sh -c 'echo $A'
session "terminal" "${run[*]} -t $c sh"
expect "volume" 0 '^root:' "${run[@]}" -v "$work/rootfs/etc:/mnt:ro" "$c" cat /mnt/passwd
expect "user" 0 'uid=7' "${run[@]}" --user 7:7 "$c" id
cat >"$work/Containerfile" <<EOT
FROM scratch
COPY rootfs /
RUN echo built >/built && sleep 0
EOT
expect "build" 0 '' "${B[@]}" bud --isolation oci --runtime "$work/gcrun" --network host -t built -f "$work/Containerfile" "$work"
built=$("${B[@]}" from built)
expect "what was built" 0 '^built$' "${run[@]}" "$built" cat /built
expect "rm" 0 '' "${B[@]}" rm -a
no_state "nothing is left" /run/gcrun
finish buildah
