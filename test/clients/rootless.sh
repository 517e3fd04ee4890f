#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154 # lib.sh defines the variables; the containers expand the words
# Podman drives gcrun as an ordinary user, who is made for the test, with the drop-in that is shipped in contrib/.
. "$(dirname "$0")/lib.sh"
. "$here/podman-lib.sh"
needs podman podman conmon conmon newuidmap uidmap setpriv util-linux

# The user exists in this mount namespace alone.
name=gcrclient id=12347
for file in passwd group subuid subgid; do
    cp "/etc/$file" "$work/$file" 2>/dev/null || : >"$work/$file"
    [ -e "/etc/$file" ] || : >"/etc/$file"
    mount --bind "$work/$file" "/etc/$file"
done
echo "$name:x:$id:$id::$work/home:/bin/sh" >>/etc/passwd
echo "$name:x:$id:" >>/etc/group
echo "$name:100000:65536" | tee -a /etc/subuid >>/etc/subgid
chmod 755 "$work" "$(dirname "$work")"
mkdir -p "$work/home/.config/containers/containers.conf.d" "$work/home/tmp" "/run/user/$id"
cp -a "$work/rootfs" "$work/home/rootfs"
# conmon makes the socket for a terminal in TMPDIR, and says nothing ("no logs from conmon") where /tmp is not everybody's.
sed -e "s|/usr/local/bin/gcrun|$work/gcrun|" -e "s|^\[engine\]\$|[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nconmon_env_vars = [\"TMPDIR=$work/home/tmp\"]|" \
    "$here/../../contrib/containers.conf" >"$work/home/.config/containers/containers.conf.d/50-gcrun.conf"
cat >"$work/home/.config/containers/containers.conf" <<EOT
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
EOT
# /dev/fuse need not be there for users, so the storage does without.
printf '[storage]\ndriver = "vfs"\n' >"$work/home/.config/containers/storage.conf"
chown -R $id:$id "$work/home" "/run/user/$id"
chmod 700 "/run/user/$id"

as=(setpriv --reuid "$id" --regid "$id" --init-groups --inh-caps=-all env -i "HOME=$work/home" "USER=$name" "XDG_RUNTIME_DIR=/run/user/$id" PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin TERM=xterm)
P=("${as[@]}" podman)
leave() { "${P[@]}" rm -af -t 0; }
cd "$work/home" || exit 1
# Without overlays of a user's own the container writes into the directory itself.
fs=(--network none --rootfs "$work/home/rootfs")
run=("${P[@]}" run)

expect "the runtime in use" 0 "gcrun version" "${P[@]}" info
expect "not root" 0 "^$id$" "${as[@]}" id -u
expect "run" 0 '^hello$' "${run[@]}" --rm "${fs[@]}" echo hello
expect "root inside, the user outside" 0 "0 +$id +1 1 +100000 +65536" "${run[@]}" --rm "${fs[@]}" sh -c 'echo $(cat /proc/self/uid_map)'
expect "exit status" 7 '' "${run[@]}" --rm "${fs[@]}" sh -c 'exit 7'
expect "command not found" 127 'executable file not found in \$PATH' "${run[@]}" --rm "${fs[@]}" nonexistent
expect "another user" 0 'uid=1000 gid=1000|uid=1000\(1000\)' "${run[@]}" --rm --user 1000:1000 "${fs[@]}" id
expect "its own ids" 0 "^$id $id 1\$" "${run[@]}" --rm --userns keep-id "${fs[@]}" sh -c "awk '\$1 == $id { print \$1, $id, \$3 }' /proc/self/uid_map"
expect "what it writes is the user's" 0 "^$id:$id\$" bash -c "${run[*]} --rm -v $work/home:/mnt ${fs[*]} touch /mnt/file && stat -c %u:%g $work/home/file"
expect "read-only root and tmpfs" 1 'Read-only file system' "${run[@]}" --rm --read-only --tmpfs /var "${fs[@]}" sh -c 'touch /var/x && touch /y'
expect "standard input" 0 '^from outside$' bash -c "echo from outside | ${run[*]} --rm -i ${fs[*]} cat"
session "terminal" "${run[*]} --rm -it ${fs[*]} sh"
session "terminal of another user" "${run[*]} --rm -it --user 1000:1000 ${fs[*]} sh"
# Without cgroups of a user's own, which need version 2 and systemd: systemd.sh has the rest.
lifetime
pod --rootfs "$work/home/rootfs"
no_state "nothing is left" "/run/user/$id/gcrun"
finish rootless
