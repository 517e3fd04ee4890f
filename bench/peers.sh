#!/bin/bash
# peers.sh [DIRECTORY]: current releases of the peers, into a directory outside the project (~/.cache/gcr-peers).
#
#   bench/peers.sh && sudo make bench CRUN=~/.cache/gcr-peers/crun RUNC=~/.cache/gcr-peers/runc
#
# runc is built from its Go module, with seccomp as distributions build it (needs Go, gcc, pkg-config and
# libseccomp-dev). crun is the binary of Debian's SUITE (sid) with the C library and the others that it was built for:
# patchelf(1) writes their place into it, which changes no code.
#
# RUNC_VERSION=v1.5.2 names another release of runc, SUITE=trixie another one of Debian.
set -eu
dir=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/gcr-peers}")
suite=${SUITE:-sid} version=${RUNC_VERSION:-latest} mirror=http://deb.debian.org/debian
arch=$(dpkg --print-architecture)
mkdir -p "$dir"

GOBIN=$dir CGO_ENABLED=1 go install -trimpath -tags seccomp -ldflags '-s -w' "github.com/opencontainers/runc@$version"

rm -rf "$dir/crun-files"
mkdir -p "$dir/crun-files/packages" "$dir/crun-files/lib"
cd "$dir/crun-files"
curl -fsS "$mirror/dists/$suite/main/binary-$arch/Packages.xz" | xz -dc |
    awk '/^Package: (crun|libblake3-0|libcap2|libjson-c5|libyajl2|libseccomp2|libsystemd0|libc6|libgcc-s1|libgcrypt20|libgpg-error0|liblzma5|libzstd1|liblz4-1)$/ { p = 1 }
        p && /^Filename:/ { print $2 } /^$/ { p = 0 }' >files
while read -r file; do
    curl -fsS -o package.deb "$mirror/$file"
    dpkg-deb -x package.deb packages
done <files
find packages -name '*.so*' -path '*-linux-gnu*' -not -path '*/gconv/*' -exec cp -L -t lib {} + 2>/dev/null || true
cp packages/usr/bin/crun ../crun
loader=$(patchelf --print-interpreter ../crun)
patchelf --set-interpreter "$PWD/lib/$(basename "$loader")" --set-rpath "$PWD/lib" --force-rpath ../crun
for lib in lib/*.so*; do
    case $lib in */ld-linux*) ;; *) patchelf --set-rpath "$PWD/lib" --force-rpath "$lib" 2>/dev/null || true ;; esac
done
rm -rf package.deb packages files

"$dir/runc" --version | head -1
"$dir/crun" --version | head -1
echo "make bench CRUN=$dir/crun RUNC=$dir/runc"
