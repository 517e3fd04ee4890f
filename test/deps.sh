#!/bin/bash
# Installs what the tests need beyond Go, from the packages of Debian or Ubuntu. Without root, or elsewhere, it
# only says what is missing; the tests that need it then skip and say so too.
set -euo pipefail

declare -A package=(
    [busybox]=busybox-static      # the smallest real root filesystem
    [mmdebstrap]=mmdebstrap       # a real distribution
    [newuidmap]=uidmap            # ranges of ids for ordinary users
    [shellcheck]=shellcheck
    [gcc]=gcc                     # the reference for system call filters is built from C
    [setpriv]=util-linux
    [ip]=iproute2
    [nft]=nftables
    [iptables-nft]=iptables       # firewalls of others, to live beside
    [pasta]=passt                 # networks without root
    [slirp4netns]=slirp4netns
    [ps]=procps
    [runc]=runc                   # a peer, to compare with
    [jq]=jq
)
missing=()
for tool in "${!package[@]}"; do
    command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
[ -e /usr/include/seccomp.h ] || missing+=(libseccomp-dev)

[ ${#missing[@]} -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "Some tests will skip; they need: ${missing[*]}" >&2
    echo "As root on Debian or Ubuntu: apt-get install ${missing[*]}" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"
