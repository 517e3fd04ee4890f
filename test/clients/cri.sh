#!/bin/bash
# shellcheck disable=SC1091,SC2016,SC2154,SC2034 # lib.sh defines the variables; the containers expand the words
# containerd drives gcrun for Kubernetes, with the configuration that is shipped in contrib/. The kubelet's part is
# played by the program in cri/, a module of its own.
outside() { (cd "$here/cri" && CGO_ENABLED=0 go build -o "$GCR_CLIENT_PROGRAMS/cri" .); }
. "$(dirname "$0")/lib.sh"
needs containerd containerd ctr containerd
[ -x /usr/lib/cni/bridge ] || skip "needs /usr/lib/cni/bridge (Debian package containernetworking-plugins)"

# The configuration as it is shipped, with the path of this build and places of the test's own.
mkdir -p "$work/net.d" "$work/logs"
section='\[plugins."io.containerd.grpc.v1.cri".containerd\]'
sed -e "s|/usr/local/bin/gcrun|$work/gcrun|" -e "s|^$section\$|&\n  snapshotter = \"native\"|" "$here/../../contrib/containerd.toml" >"$work/config.toml"
sed -i "s|^version = 2\$|&\nroot = \"$work/root\"\nstate = \"$work/state\"|" "$work/config.toml"
cat >>"$work/config.toml" <<EOT
[grpc]
  address = "$work/c.sock"
[ttrpc]
  address = "$work/c.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:1"
  # A caller without CAP_SYS_RESOURCE cannot lower the score.
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$work/net.d"
EOT
cat >"$work/net.d/10-test.conflist" <<EOT
{"cniVersion": "0.4.0", "name": "test", "plugins": [
  {"type": "bridge", "bridge": "cni-test", "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": "$work/leases", "ranges": [[{"subnet": "10.88.0.0/16"}]]}}]}
EOT

# image NAME COMMAND...: an archive of the root filesystem as docker save writes it.
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
}
image pause /bin/sleep 2147483
image probe /bin/sh

containerd -c "$work/config.toml" >"$work/log" 2>&1 &
C=(ctr -a "$work/c.sock" -n k8s.io)
await "${C[@]}" version || { tail -5 "$work/log"; exit 1; }
for name in pause probe; do
    "${C[@]}" images import --snapshotter native --no-unpack "$work/$name.tar" >/dev/null 2>&1 || "${C[@]}" images import --snapshotter native "$work/$name.tar" >/dev/null || exit 1
done

while read -r line; do
    case $line in
    "ok "*) good=$((good + 1)) ;;
    "FAIL "*) bad=$((bad + 1)) ;;
    esac
    echo "$line"
done < <(timeout 400 "$GCR_CLIENT_PROGRAMS/cri" -socket "$work/c.sock" -image docker.io/library/probe:1 -cgroup "/$cgroup" -logs "$work/logs" 2>&1)
[ "$bad" = 0 ] || { grep -E 'level=(error|warning)' "$work/log" | tail -20; }
no_state "nothing is left" /run/containerd/runc/k8s.io
no_cgroups "no cgroup is left"
finish cri
