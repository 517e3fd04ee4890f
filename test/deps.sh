#!/bin/bash
# Installs what the tests need beyond Go, from the packages of Debian or Ubuntu, and says how long that took.
# Without root, or elsewhere, it only says what is missing; the tests that need it then skip and say so too.
set -euo pipefail

# Each line: a program or a file, its package (the first of several that the release has), and what the tests have
# it for.
needs() {
    cat <<'LIST'
busybox                         busybox-static      the smallest real root filesystem
mmdebstrap                      mmdebstrap          a real distribution
/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring its signatures
newuidmap                       uidmap              ranges of ids for ordinary users
shellcheck                      shellcheck          scripts and the shell that is printed
gcc                             gcc                 the reference for system call filters is built from C
/usr/include/seccomp.h          libseccomp-dev      that reference
/usr/include/errno.h            libc6-dev           and what it includes
runc                            runc                a peer, to compare with
crun                            crun                another
podman                          podman              compares what is made of an image; drives gcrun
conmon                          conmon              Podman's way to a runtime
catatonit                       catatonit           Podman's init, and the first process of its pods
buildah                         buildah             drives gcrun
containerd                      containerd          drives gcrun
dockerd                         docker.io           drives gcrun; makes networks beside ours
docker                          docker-cli|docker.io its client, a package of its own since Debian 13
/usr/lib/cni/bridge             containernetworking-plugins networks of Kubernetes' pods
skopeo                          skopeo              makes and reads images
umoci                           umoci               the same, by other people
docker-registry                 docker-registry     a registry that is not the tests' own
setcap                          libcap2-bin         what files have beside their contents
setfacl                         acl                 the same
setfattr                        attr                the same
cpio                            cpio                reads what the VM bench packs
protoc                          protobuf-compiler   reads what is written for CRIU
checkpolicy                     checkpolicy         compiles the policy of the tests of SELinux
xz                              xz-utils            a compression
zstd                            zstd                another
setpriv                         util-linux          other users, namespaces
ip                              iproute2            looks at networks
nft                             nftables            looks at firewalls
iptables-nft                    iptables            the rules of others beside ours
firewalld                       firewalld           firewalls of others beside ours
ufw                             ufw                 another
dbus-daemon                     dbus-daemon         firewalld talks over it
dbus-send                       dbus-bin            looks whether it does
pasta                           passt               networks without root
slirp4netns                     slirp4netns         the same, by other people
socat                           socat               asks slirp4netns for a port, as a learner does
ps                              procps              looks at processes
jq                              jq                  reads JSON in scripts
LIST
}

PATH=$PATH:/usr/sbin:/sbin
missing=()
while read -r what package _; do
    case $what in
    /*) [ -e "$what" ] ;;
    *) command -v "$what" >/dev/null ;;
    esac || missing+=("$package")
done < <(needs)
if [ ${#missing[@]} = 0 ]; then
    echo "What the tests need is there."
    exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "Some tests will skip; they need: ${missing[*]}" >&2
    echo "As root on Debian or Ubuntu: apt-get install ${missing[*]}" >&2
    exit 0
fi

echo "Installing what the tests need: ${missing[*]}"
began=$SECONDS
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
known=()
for packages in "${missing[@]}"; do
    found=
    for package in ${packages//|/ }; do
        # No pipe into grep -q: it ends at the first line, and apt-cache of the broken pipe.
        if [ "$found" = "" ] && [ -n "$(apt-cache show "$package" 2>/dev/null)" ]; then
            found=$package
            known+=("$package")
        fi
    done
    [ "$found" != "" ] || echo "This release has no package $packages; the tests that need it will skip." >&2
done
# These are for the tests, which start them themselves; they shall not run as services of this machine.
for service in docker-registry firewalld containerd docker.io; do
    case " ${known[*]-} " in
    *" $service "*) [ ! -d /run/systemd/system ] || systemctl mask --quiet "${service%.io}" ;;
    esac
done
case " ${known[*]-} " in *" docker.io "*) [ ! -d /run/systemd/system ] || systemctl mask --quiet docker.socket ;; esac
# --no-remove: a package that another one of this machine rules out is not worth that one.
[ ${#known[@]} = 0 ] || apt-get install -y -qq --no-install-recommends --no-remove "${known[@]}" >/dev/null
echo "Installed ${#known[@]} packages in $((SECONDS - began)) s."
