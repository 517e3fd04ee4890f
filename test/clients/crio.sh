#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154,SC2034 # lib.sh defines the variables; the containers expand the words
# CRI-O drives gcrun for Kubernetes. The kubelet's part is played by the program in cri/, a module of its own. Debian has no
# package of CRI-O, so it is built from its module. That takes four minutes of a processor, so it is done when GCR_TEST_FULL=1 says so, or
# not at all when GCR_CLIENT_CRIO names a directory with crio and its pinns.
crio_version=v1.36.3
outside() {
    [ "${GCR_TEST_FULL:-}${GCR_CLIENT_CRIO:-}" != "" ] || skip "needs minutes to build CRI-O (GCR_TEST_FULL=1)"
    (cd "$here/cri" && CGO_ENABLED=0 go build -o "$GCR_CLIENT_PROGRAMS/cri" .) || return
    if [ "${GCR_CLIENT_CRIO:-}" != "" ]; then
        cp "$GCR_CLIENT_CRIO/crio" "$GCR_CLIENT_CRIO/pinns" "$GCR_CLIENT_PROGRAMS/"
        return
    fi
    [ -e /usr/include/seccomp.h ] || skip "needs /usr/include/seccomp.h (Debian package libseccomp-dev)"
    local module dir=$GCR_CLIENT_PROGRAMS/source
    module=$(cd "$here/cri" && go mod download -json "github.com/cri-o/cri-o@$crio_version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -d "$module" ] || return
    cp -r "$module" "$dir" && chmod -R u+w "$dir" || return
    make -s -C "$dir/pinns" && cp "$(find "$dir" -name pinns -type f -perm -u+x | head -1)" "$GCR_CLIENT_PROGRAMS/pinns" || return
    (cd "$dir" && go build -tags "containers_image_ostree_stub exclude_graphdriver_btrfs containers_image_openpgp seccomp" -o "$GCR_CLIENT_PROGRAMS/crio" ./cmd/crio) || return
    rm -rf "$dir"
}
. "$(dirname "$0")/lib.sh"
needs conmon conmon skopeo skopeo capsh libcap2-bin
[ -x /usr/lib/cni/bridge ] || skip "needs /usr/lib/cni/bridge (Debian package containernetworking-plugins)"

mkdir -p "$work"/{net.d,logs,crio.conf.d,empty}
# The configuration as it is shipped, with the path of this build, and places of the test's own.
sed -e "s|/usr/local/bin/gcrun|$work/gcrun|" "$here/../../contrib/crio.conf" >"$work/crio.conf.d/10-gcrun.conf"
cat >"$work/crio.conf" <<EOT
[crio]
root = "$work/root"
runroot = "$work/runroot"
storage_driver = "vfs"
log_dir = "$work/podlogs"
version_file = "$work/version"
version_file_persist = "$work/version.persist"
clean_shutdown_file = "$work/clean"
[crio.api]
listen = "$work/c.sock"
stream_address = "127.0.0.1"
stream_port = "0"
[crio.runtime]
conmon_cgroup = "pod"
cgroup_manager = "cgroupfs"
pinns_path = "$GCR_CLIENT_PROGRAMS/pinns"
namespaces_dir = "$work/ns"
container_exits_dir = "$work/exits"
container_attach_socket_dir = "$work/attach"
irqbalance_config_file = ""
hooks_dir = ["$work/empty"]
default_ulimits = ["nofile=1024:1024"]
[crio.image]
pause_image = "localhost/pause:1"
pause_command = "/bin/sleep 2147483"
signature_policy = "$work/policy.json"
[crio.network]
network_dir = "$work/net.d"
plugin_dirs = ["/usr/lib/cni"]
[crio.nri]
enable_nri = false
EOT
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"
cat >"$work/net.d/10-test.conflist" <<EOT
{"cniVersion": "0.4.0", "name": "test", "plugins": [
  {"type": "bridge", "bridge": "cni-test", "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": "$work/leases", "ranges": [[{"subnet": "10.88.0.0/16"}]]}}]}
EOT

# image NAME COMMAND...: an image of the root filesystem, in the store of CRI-O.
image() {
    local dir=$work/image.$1 entry
    mkdir -p "$dir"
    tar -C "$work/rootfs" -cf "$dir/layer.tar" .
    entry=$(printf '"%s",' "${@:2}")
    cat >"$dir/config.json" <<EOT
{"architecture": "$(dpkg --print-architecture)", "os": "linux", "config": {"Entrypoint": [${entry%,}], "Env": ["PATH=/bin"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum "$dir/layer.tar" | cut -d' ' -f1)"]}}
EOT
    echo "[{\"Config\": \"config.json\", \"RepoTags\": [\"$1:1\"], \"Layers\": [\"layer.tar\"]}]" >"$dir/manifest.json"
    tar -C "$dir" -cf "$work/$1.tar" manifest.json config.json layer.tar
    skopeo --policy "$work/policy.json" copy -q "docker-archive:$work/$1.tar" "containers-storage:[vfs@$work/root+$work/runroot]localhost/$1:1"
}
image pause /bin/sleep 2147483 || exit 1
image probe /bin/sh || exit 1

"$GCR_CLIENT_PROGRAMS/crio" --config "$work/crio.conf" --config-dir "$work/crio.conf.d" >"$work/log" 2>&1 &
await test -S "$work/c.sock" || { tail -5 "$work/log"; exit 1; }
# It counts the processes of a pod by the name of systemd's slice. For pods that share process ids or the host's network it
# wants a lower OOM score, for which a caller without CAP_SYS_RESOURCE has not the right.
flags=(-pids=false)
capsh --has-p=cap_sys_resource 2>/dev/null || flags+=(-scores=false)
while read -r line; do
    case $line in
    "ok "*) good=$((good + 1)) ;;
    "FAIL "*) bad=$((bad + 1)) ;;
    esac
    echo "$line"
done < <(timeout 400 "$GCR_CLIENT_PROGRAMS/cri" -name cri-o "${flags[@]}" -socket "$work/c.sock" -image localhost/probe:1 -cgroup "/$cgroup" -logs "$work/logs" 2>&1)
[ "$bad" = 0 ] || { grep -E 'level="?(error|warning)' "$work/log" | tail -20; }
no_state "nothing is left" /run/gcrun
no_cgroups "no cgroup is left"
finish crio
