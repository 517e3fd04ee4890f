// Command cri uses a Kubernetes runtime as the kubelet does: by the Container Runtime Interface, here of containerd
// with gcrun. It prints a line for each thing that is right or wrong, as the scripts beside it do.
//
//	cri -socket /run/containerd/containerd.sock -image docker.io/library/probe:1 -cgroup /pods -logs DIR
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var (
	socket = flag.String("socket", "", "the runtime's `socket`")
	image  = flag.String("image", "", "`image` with a shell")
	cgroup = flag.String("cgroup", "", "`cgroup` of the pods")
	logs   = flag.String("logs", "", "`directory` for the containers' logs")
	name   = flag.String("name", "containerd", "the runtime's `name`")
	pidMax = flag.Bool("pids", true, "whether the runtime's processes can be counted")
	scores = flag.Bool("scores", true, "whether pods can be made that share something: CRI-O lowers the OOM score of their first process")
)

// kubelet is a connection to the runtime.
type kubelet struct {
	cri.RuntimeServiceClient
	ctx  context.Context
	good int
	bad  int
}

func main() {
	flag.Parse()
	conn, err := grpc.NewClient("unix://"+*socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println("FAIL connect:", err)
		os.Exit(1)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	k := &kubelet{RuntimeServiceClient: cri.NewRuntimeServiceClient(conn), ctx: ctx}
	k.status()
	k.pod()
	if *scores {
		k.sharedPIDs()
		k.hostNetwork()
	}
	if k.bad > 0 {
		os.Exit(1)
	}
}

// check counts one thing: err must be nil, and what was got must match the pattern.
func (k *kubelet) check(what string, err error, got, pattern string) {
	switch {
	case err != nil:
		k.wrong(what, err.Error())
	case !regexp.MustCompile(pattern).MatchString(got):
		k.wrong(what, fmt.Sprintf("got %q, which does not match %s", got, pattern))
	default:
		k.good++
		fmt.Println("ok", what)
	}
}

// fails counts an error that must come, with a text.
func (k *kubelet) fails(what string, err error, pattern string) {
	if err == nil {
		k.wrong(what, "it succeeded")
		return
	}
	k.check(what, nil, err.Error(), pattern)
}

func (k *kubelet) wrong(what, why string) {
	k.bad++
	fmt.Printf("FAIL %s\n    %s\n", what, why)
}

// eventually waits until something is so, for as long as no healthy machine needs.
func (k *kubelet) eventually(what string, is func() (bool, string)) {
	last := ""
	for range 900 {
		ok, state := is()
		if ok {
			k.check(what, nil, "", "")
			return
		}
		last = state
		time.Sleep(100 * time.Millisecond)
	}
	k.wrong(what, "waited in vain: "+last)
}

func (k *kubelet) status() {
	v, err := k.Version(k.ctx, &cri.VersionRequest{})
	k.check("version", err, v.GetRuntimeName(), "^"+*name+"$")
	s, err := k.Status(k.ctx, &cri.StatusRequest{})
	conditions := ""
	for _, c := range s.GetStatus().GetConditions() {
		conditions += fmt.Sprintf("%s=%v ", c.Type, c.Status)
	}
	k.check("status", err, conditions, "RuntimeReady=true NetworkReady=true")
}

// sandbox starts a pod.
func (k *kubelet) sandbox(name string, edit func(*cri.PodSandboxConfig)) (string, *cri.PodSandboxConfig) {
	c := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Namespace: "test", Uid: name, Attempt: 0},
		Hostname: name, LogDirectory: *logs,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    *cgroup,
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}},
		},
	}
	if edit != nil {
		edit(c)
	}
	r, err := k.RunPodSandbox(k.ctx, &cri.RunPodSandboxRequest{Config: c})
	k.check("pod "+name, err, r.GetPodSandboxId(), "^[0-9a-f]{64}$")
	return r.GetPodSandboxId(), c
}

func (k *kubelet) removeSandbox(name, id string) {
	_, err := k.StopPodSandbox(k.ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
	k.check("stop pod "+name, err, "", "")
	_, err = k.RemovePodSandbox(k.ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
	k.check("remove pod "+name, err, "", "")
	l, err := k.ListPodSandbox(k.ctx, &cri.ListPodSandboxRequest{})
	k.check("no pod is left of "+name, err, fmt.Sprint(len(l.GetItems())), "^0$")
}

// container makes a container that runs a script.
func (k *kubelet) container(name, script, pod string, config *cri.PodSandboxConfig, edit func(*cri.ContainerConfig)) (string, error) {
	c := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name}, Image: &cri.ImageSpec{Image: *image, UserSpecifiedImage: *image}, Command: []string{"/bin/sh", "-c", script}, LogPath: name + ".log",
		Linux: &cri.LinuxContainerConfig{
			Resources:       &cri.LinuxContainerResources{},
			SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: config.Linux.SecurityContext.NamespaceOptions},
		},
	}
	if edit != nil {
		edit(c)
	}
	r, err := k.CreateContainer(k.ctx, &cri.CreateContainerRequest{PodSandboxId: pod, Config: c, SandboxConfig: config})
	return r.GetContainerId(), err
}

// start makes and starts one.
func (k *kubelet) start(name, script, pod string, config *cri.PodSandboxConfig, edit func(*cri.ContainerConfig)) string {
	id, err := k.container(name, script, pod, config, edit)
	k.check("create container "+name, err, id, "^[0-9a-f]{64}$")
	_, err = k.StartContainer(k.ctx, &cri.StartContainerRequest{ContainerId: id})
	k.check("start container "+name, err, "", "")
	return id
}

func (k *kubelet) state(id string) *cri.ContainerStatus {
	s, err := k.ContainerStatus(k.ctx, &cri.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return &cri.ContainerStatus{Message: err.Error()}
	}
	return s.GetStatus()
}

// sh runs a script in a container and returns its output and exit status.
func (k *kubelet) sh(id, script string) (string, error) {
	r, err := k.ExecSync(k.ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: []string{"sh", "-c", script}, Timeout: 60})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s%s[%d]", r.Stdout, r.Stderr, r.ExitCode), nil
}

func (k *kubelet) seen(what, id, script, pattern string) {
	out, err := k.sh(id, script)
	k.check(what, err, out, pattern)
}

// patient waits for the signal that asks it to end; as process 1 it must say that it does. CRI-O gives it as long as the caller of
// StopPodSandbox has.
const patient = `trap "exit 0" TERM; while :; do sleep 0.1; done`

// limit prints the memory limit, whatever the version of cgroups.
const limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true"

// pod does what happens to most pods in their lives.
func (k *kubelet) pod() {
	pod, config := k.sandbox("one", nil)
	s, err := k.PodSandboxStatus(k.ctx, &cri.PodSandboxStatusRequest{PodSandboxId: pod})
	k.check("address of the pod", err, s.GetStatus().GetNetwork().GetIp(), `^10\.88\.`)

	main := k.start("main", `trap "exit 5" TERM; echo started; while :; do sleep 0.1; done`, pod, config, func(c *cri.ContainerConfig) {
		c.Linux.Resources.MemoryLimitInBytes = 64 << 20
		c.Linux.Resources.CpuShares, c.Linux.Resources.CpuPeriod, c.Linux.Resources.CpuQuota = 512, 100000, 50000
		c.Envs = []*cri.KeyValue{{Key: "GREETING", Value: "two words"}}
	})
	k.check("running", nil, k.state(main).GetState().String(), "CONTAINER_RUNNING")
	k.seen("exec", main, "echo inside $GREETING; echo oh >&2; exit 5", `^inside two words\noh\n\[5\]$`)
	_, err = k.ExecSync(k.ctx, &cri.ExecSyncRequest{ContainerId: main, Cmd: []string{"nonexistent"}})
	k.fails("exec, not found", err, `executable file not found in \$PATH`)
	slow, err := k.ExecSync(k.ctx, &cri.ExecSyncRequest{ContainerId: main, Cmd: []string{"sleep", "1000"}, Timeout: 1})
	if err == nil && slow.GetExitCode() == -1 { // CRI-O
		err = fmt.Errorf("%s", slow.GetStderr())
	}
	k.fails("exec that takes too long", err, "timeout|timed out|DeadlineExceeded|deadline")
	k.seen("the pod's name and address", main, "hostname; ip addr show eth0", `(?s)^one\n.*inet 10\.88\.`)
	k.seen("memory limit", main, limit, "^67108864\n")
	k.streams(main)
	k.eventually("statistics", func() (bool, string) {
		r, err := k.ContainerStats(k.ctx, &cri.ContainerStatsRequest{ContainerId: main})
		st := r.GetStats()
		return err == nil && st.GetMemory().GetWorkingSetBytes().GetValue() > 0 && st.GetCpu().GetUsageCoreNanoSeconds().GetValue() > 0, fmt.Sprint(st, err)
	})
	if *pidMax {
		k.eventually("statistics of the pod", func() (bool, string) {
			r, err := k.PodSandboxStats(k.ctx, &cri.PodSandboxStatsRequest{PodSandboxId: pod})
			n := r.GetStats().GetLinux().GetProcess().GetProcessCount().GetValue()
			return err == nil && n > 0, fmt.Sprint(n, err)
		})
	}
	_, err = k.UpdateContainerResources(k.ctx, &cri.UpdateContainerResourcesRequest{ContainerId: main, Linux: &cri.LinuxContainerResources{MemoryLimitInBytes: 100 << 20, CpuShares: 256}})
	k.check("update", err, "", "")
	k.seen("updated", main, limit, "^104857600\n")
	k.eventually("log", func() (bool, string) {
		data, err := os.ReadFile(filepath.Join(*logs, "main.log"))
		return bytes.Contains(data, []byte("stdout F started\n")), fmt.Sprintf("%s %v", data, err)
	})
	k.security(pod, config)

	_, err = k.StopContainer(k.ctx, &cri.StopContainerRequest{ContainerId: main, Timeout: 60})
	k.check("stop", err, "", "")
	st := k.state(main)
	k.check("exit status after stop", nil, fmt.Sprint(st.GetState(), st.GetExitCode()), "^CONTAINER_EXITED ?5$")
	_, err = k.StopContainer(k.ctx, &cri.StopContainerRequest{ContainerId: main, Timeout: 60})
	k.check("stop of what is stopped", err, "", "")

	short := k.start("short", "exit 3", pod, config, nil)
	k.eventually("its exit status", func() (bool, string) {
		st := k.state(short)
		return st.GetState() == cri.ContainerState_CONTAINER_EXITED && st.GetExitCode() == 3, st.String()
	})
	bad, err := k.container("bad", "", pod, config, func(c *cri.ContainerConfig) { c.Command = []string{"nonexistent"} })
	if err == nil { // containerd calls the runtime's create only now
		_, err = k.StartContainer(k.ctx, &cri.StartContainerRequest{ContainerId: bad})
	}
	k.fails("command not found", err, `executable file not found in \$PATH`)
	hard := k.start("hard", `trap "" TERM; while :; do sleep 0.1; done`, pod, config, nil)
	_, err = k.StopContainer(k.ctx, &cri.StopContainerRequest{ContainerId: hard, Timeout: 1})
	k.check("stop of what does not listen", err, "", "")
	k.check("it was killed", nil, fmt.Sprint(k.state(hard).GetExitCode()), "^137$")
	for _, id := range []string{main, short, bad, hard} {
		if id == "" {
			continue
		}
		_, err = k.RemoveContainer(k.ctx, &cri.RemoveContainerRequest{ContainerId: id})
		k.check("remove container", err, "", "")
	}
	// What still runs ends with the pod.
	k.start("last", patient, pod, config, nil)
	k.removeSandbox("one", pod)
}

// security looks at what a pod's description says about rights.
func (k *kubelet) security(pod string, config *cri.PodSandboxConfig) {
	id := k.start("locked", "sleep 1000", pod, config, func(c *cri.ContainerConfig) {
		s := c.Linux.SecurityContext
		s.RunAsUser, s.RunAsGroup, s.SupplementalGroups = &cri.Int64Value{Value: 7}, &cri.Int64Value{Value: 8}, []int64{9}
		s.ReadonlyRootfs, s.NoNewPrivs = true, true
		s.Capabilities = &cri.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}}
		s.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
		s.MaskedPaths, s.ReadonlyPaths = []string{"/proc/keys"}, []string{"/proc/sys"}
		c.Mounts = []*cri.Mount{{ContainerPath: "/mnt", HostPath: *logs, Readonly: true}}
	})
	k.seen("user and groups", id, "id", `^uid=7(\(7\))? gid=8 groups=8,9`)
	k.seen("capabilities, no_new_privs and filter", id, "grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status", `CapBnd:\t0000000000000400\nNoNewPrivs:\t1\nSeccomp:\t2`)
	k.seen("read-only root", id, "echo >/x", "Read-only file system")
	k.seen("read-only volume", id, "echo >/mnt/x", "Read-only file system|Permission denied")
	k.seen("masked path", id, "wc -c </proc/keys", `^0\n`)
	_, err := k.StopContainer(k.ctx, &cri.StopContainerRequest{ContainerId: id})
	k.check("stop container locked", err, "", "")
	_, err = k.RemoveContainer(k.ctx, &cri.RemoveContainerRequest{ContainerId: id})
	k.check("remove container locked", err, "", "")
}

// sharedPIDs starts a pod whose containers see one another's processes.
func (k *kubelet) sharedPIDs() {
	pod, config := k.sandbox("shared", func(c *cri.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions = &cri.NamespaceOption{Pid: cri.NamespaceMode_POD}
	})
	id := k.start("first", "sleep 1001 & sleep 1000", pod, config, nil)
	k.seen("the pod's first process is another", id, "cat /proc/1/cmdline", "sleep\x002147")
	_, err := k.StopContainer(k.ctx, &cri.StopContainerRequest{ContainerId: id, Timeout: 1})
	k.check("stop of all its processes", err, "", "")
	other := k.start("second", "sleep 1000", pod, config, nil)
	k.seen("none of them is left", other, "ps -o args", `^[^1]*(sleep 2147[0-9]+\n)[^1]*sleep 1000`)
	out, err := k.sh(other, "ps -o args")
	if strings.Contains(out, "sleep 1001") {
		k.wrong("a background process outlived its container", out)
	}
	k.check("list of processes", err, out, "sleep 1000")
	k.removeSandbox("shared", pod)
}

// hostNetwork starts a pod in the host's network.
func (k *kubelet) hostNetwork() {
	pod, config := k.sandbox("host", func(c *cri.PodSandboxConfig) {
		c.Hostname = ""
		c.Linux.SecurityContext.NamespaceOptions = &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}
	})
	id := k.start("in-host", patient, pod, config, nil)
	out, err := k.sh(id, "readlink /proc/self/ns/net")
	host, _ := os.Readlink("/proc/self/ns/net")
	k.check("network of the host", err, out, "^"+regexp.QuoteMeta(host))
	k.removeSandbox("host", pod)
}
