#!/usr/bin/env bash
# provision.sh: install what it takes to build, run and test gcr on Ubuntu 22.04 or later, or Debian 12 or later.
#
#     sudo ./provision.sh
#
# Lima (gcr.lima.yaml) runs it at every start of the VM, so what is there already is left alone.
# GO_DOWNLOADS names another server with the files of https://go.dev/dl.
set -euo pipefail

go_floor=1.25
go_downloads=${GO_DOWNLOADS:-https://go.dev/dl}

packages=(
    ca-certificates curl git jq make                      # get and build it
    uidmap dbus-user-session                              # rootless: a range of user ids, a systemd manager of one's own
    iproute2 nftables procps util-linux                   # look at namespaces: ip, nft, ps, unshare, nsenter, ipcmk
    mmdebstrap debootstrap debian-archive-keyring         # make root filesystems for rootfs/
    busybox-static                                        # a root filesystem in one file
    shellcheck                                            # make lint
)

say() { printf 'provision.sh: %s\n' "$*" >&2; }

[ "$(id -u)" = 0 ] || { say "only root can install packages; run: sudo $0"; exit 1; }
command -v apt-get >/dev/null || { say "there is no apt-get here; install by hand: ${packages[*]}, Go $go_floor or later"; exit 1; }

install_packages() {
    local p missing=()
    for p in "${packages[@]}"; do
        dpkg-query --show --showformat='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# go_is_new_enough: does the go command that a login shell finds have at least the floor's version?
go_is_new_enough() {
    local version
    version=$(PATH=$PATH:/usr/local/go/bin GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
    version=${version#go}
    [ "$(printf '%s\n' "$go_floor" "$version" | sort -V | head -n 1)" = "$go_floor" ]
}

# install_go: the newest stable Go, checked against the checksum that the download page gives.
install_go() {
    local arch list name sum temp
    go_is_new_enough && return
    arch=$(dpkg --print-architecture)
    list=$(curl -fsSL "$go_downloads/?mode=json") || { say "$go_downloads cannot be reached"; return 1; }
    list=$(jq -r --arg arch "$arch" '
        map(select(.stable))[0].files[]
        | select(.os == "linux" and .arch == $arch and .kind == "archive") | "\(.filename) \(.sha256)"' <<<"$list")
    read -r name sum <<<"$list"
    [ -n "$name" ] || { say "$go_downloads lists no Go for linux/$arch"; return 1; }
    say "installing $name"
    temp=$(mktemp -d /usr/local/go.new.XXXXXX)
    # shellcheck disable=SC2064 # the directory of now
    trap "rm -rf '$temp'" EXIT
    curl -fsSL -o "$temp/archive" "$go_downloads/$name"
    echo "$sum  $temp/archive" | sha256sum --check --status ||
        { say "$go_downloads/$name does not have the checksum $sum that the list gives"; return 1; }
    tar -C "$temp" -xzf "$temp/archive"
    rm -rf /usr/local/go
    mv "$temp/go" /usr/local/go
    ln -sf /usr/local/go/bin/go /usr/local/go/bin/gofmt /usr/local/bin/
    go_is_new_enough || { say "another go is found before /usr/local/go/bin: $(command -v go)"; return 1; }
}

# delegate_controllers: let users limit the cpu and the io of their containers too; systemd's default is memory and
# pids. It holds from the next login on.
delegate_controllers() {
    local dir=/etc/systemd/system/user@.service.d
    [ ! -e "$dir/gcr-delegate.conf" ] || return 0
    mkdir -p "$dir"
    printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$dir/gcr-delegate.conf"
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
}

install_packages
install_go
delegate_controllers
say "ready: $(/usr/local/bin/go version 2>/dev/null || go version)"
