package attacks

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// This room has the attacks over networks. Each has a world of its own, in a network namespace: a host, on which gcr
// runs, and a client that reaches it.

const (
	worldHost   = "192.0.2.1"
	worldClient = "192.0.2.9"
)

func init() {
	for _, x := range []exhibit{
		{class: "address of the client hidden by port forwarding", known: "CVE-2021-20199", weak: "a host that copies between two connections", refusal: "sees the client as 192.0.2.9"},
		{class: "published port of the loopback reached by a neighbour", known: "CVE-2020-8558, CVE-2021-41803 and kin", weak: "a host that routes to its loopback", refusal: "192.0.2.1 does not answer"},
		{class: "server on the host's loopback reached from a container", known: "CVE-2020-8558 and kin", weak: "--network=host", refusal: "nobody answers"},
		{class: "isolation lost when the firewall is reloaded", known: "CVE-2025-54388, CVE-2024-29018", weak: "an engine whose rules are in the shared tables", refusal: "still does not reach"},
	} {
		x.needs = func(*museum) string {
			for _, name := range []string{"ip", "nft"} {
				if missing := needsProgram(name); missing != "" {
					return missing
				}
			}
			return ""
		}
		part := strings.Fields(x.class)[0]
		x.attack = func(m *museum, weak bool) outcome {
			self, err := os.Executable()
			m.must(err)
			return m.run(unix.CLONE_NEWNS|unix.CLONE_NEWNET, self, "naive", "world", part, gcrProgram(m.t), m.rootfs, strconv.FormatBool(weak))
		}
		exhibits = append(exhibits, x)
	}
	attackers["serve"] = func(a []string) outcome {
		port, _ := strconv.Atoi(a[0])
		l, err := listen([4]byte{}, port)
		if err != nil {
			return refused("%v", err)
		}
		fmt.Println("ready")
		answer(l, func(peer string) string { return peer })
		return refused("end")
	}
	attackers["ask"] = func(a []string) outcome {
		said, err := ask(a[0], a[1])
		if err != nil {
			return refused("%s does not answer: %v", a[0], err)
		}
		return worked("%s", said)
	}
	naives["world"] = func(a []string) outcome {
		w := world{gcr: a[1], rootfs: a[2], weak: a[3] == "true"}
		defer w.end()
		if err := w.make(); err != nil {
			return outcome{!w.weak, err.Error()} // fails the test on either side
		}
		return map[string]func(*world) outcome{"address": hiddenAddress, "published": loopbackPort, "server": hostLoopback, "isolation": firewallReload}[a[0]](&w)
	}
}

// world is the host that an attack runs on.
type world struct {
	gcr, rootfs string
	weak        bool
	container   *exec.Cmd
}

func (w *world) make() error {
	private()
	return shell(`
mount -t tmpfs tmpfs /run; mkdir -p /var/lib/gcr /run/netns; mount -t tmpfs tmpfs /var/lib/gcr
ip link set lo up
ip netns add client; ip link add tocl type veth peer name e1 netns client
ip addr add ` + worldHost + `/24 dev tocl; ip link set tocl up
ip -n client addr add ` + worldClient + `/24 dev e1; ip -n client link set lo up; ip -n client link set e1 up
ip -n client route add default via ` + worldHost)
}

// serve starts a container with a server on port 80 and returns its address.
func (w *world) serve(flags ...string) (string, error) {
	args := append(append([]string{"run", "--quiet", "--name", "web"}, flags...), w.rootfs, "/museum", "attack", "serve", "80")
	w.container = exec.Command(w.gcr, args...)
	w.container.Stderr = os.Stderr
	out, err := w.container.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := w.container.Start(); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		return "", fmt.Errorf("the server does not start: %w", err)
	}
	data, err := exec.Command(w.gcr, "network", "inspect", "gcr0").Output()
	if err != nil {
		return "", err
	}
	var networks []struct{ Containers []struct{ Address4 string } }
	if err := json.Unmarshal(data, &networks); err != nil || len(networks) != 1 || len(networks[0].Containers) != 1 {
		return "", fmt.Errorf("gcr network inspect gcr0: %w: %s", err, data)
	}
	return networks[0].Containers[0].Address4, nil
}

func (w *world) end() {
	if w.container != nil && w.container.Process != nil {
		_ = w.container.Process.Signal(unix.SIGTERM)
		_ = w.container.Wait()
	}
}

// fromClient asks as the client.
func (w *world) fromClient(address, port string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	out, err := exec.Command("ip", "netns", "exec", "client", self, "attack", "ask", address, port).Output()
	text := strings.TrimSpace(string(out))
	if said, ok := strings.CutPrefix(text, "worked: "); ok {
		return said, nil
	}
	return "", fmt.Errorf("%s %w", text, err)
}

func hiddenAddress(w *world) outcome {
	flags := []string{"-p", "8080:80"}
	if w.weak {
		flags = nil
	}
	address, err := w.serve(flags...)
	if err != nil {
		return outcome{!w.weak, err.Error()}
	}
	if w.weak {
		l, err := listen([4]byte{192, 0, 2, 1}, 8080)
		if err != nil {
			return refused("%v", err)
		}
		go answer(l, func(string) string { said, _ := ask(address, "80"); return said })
	}
	said, err := w.fromClient(worldHost, "8080")
	switch {
	case err != nil:
		return outcome{!w.weak, err.Error()}
	case said == worldClient:
		return refused("the container sees the client as %s", said)
	}
	return worked("the container sees the client as %s", said)
}

func loopbackPort(w *world) outcome {
	// The neighbour sends packets for 127.0.0.1 over the wire.
	err := shell(`
ip -n client route add 127.0.0.1/32 via ` + worldHost + ` table 99; ip -n client rule add to 127.0.0.1 pref 0 table 99
ip netns exec client sysctl -qw net.ipv4.conf.e1.route_localnet=1
ip -n client rule add pref 10 lookup local; ip -n client rule del pref 0 lookup local`)
	if err == nil && w.weak {
		l, lerr := listen([4]byte{127, 0, 0, 1}, 8081)
		if lerr != nil {
			return refused("%v", lerr)
		}
		go answer(l, func(string) string { return "hello" })
		err = shell("sysctl -qw net.ipv4.conf.all.route_localnet=1")
	} else if err == nil {
		_, err = w.serve("-p", "127.0.0.1:8081:80")
	}
	if err != nil {
		return outcome{!w.weak, err.Error()}
	}
	if !w.weak {
		if _, err := ask("127.0.0.1", "8081"); err != nil {
			return worked("the host itself does not reach the port: %v", err)
		}
	}
	if said, err := w.fromClient("127.0.0.1", "8081"); err == nil {
		return worked("the neighbour is answered %q", said)
	}
	said, err := w.fromClient(worldHost, "8081")
	if err == nil {
		return worked("the neighbour is answered %q", said)
	}
	return refused("%v", err)
}

func hostLoopback(w *world) outcome {
	l, err := listen([4]byte{127, 0, 0, 1}, 7070)
	if err != nil {
		return outcome{!w.weak, err.Error()}
	}
	go answer(l, func(string) string { return "secret" })
	args := []string{"run", "--quiet"}
	if w.weak {
		args = append(args, "--network=host")
	}
	var last string
	for _, address := range []string{"127.0.0.1", worldHost} {
		out, _ := exec.Command(w.gcr, append(args, w.rootfs, "/museum", "attack", "ask", address, "7070")...).CombinedOutput()
		last = strings.TrimSpace(string(out))
		if said, ok := strings.CutPrefix(last, "worked: "); ok {
			return worked("the container is answered %q", said)
		}
		if !strings.HasPrefix(last, "refused: ") {
			return outcome{!w.weak, last}
		}
	}
	return refused("nobody answers: %s", last)
}

func firewallReload(w *world) outcome {
	address, err := w.serve("-p", "127.0.0.1:8081:80")
	if err == nil && w.weak {
		err = shell(`nft delete table inet gcr
nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; }'
nft add rule ip filter FORWARD ip saddr ` + worldClient + ` drop`)
	}
	if err != nil {
		return outcome{!w.weak, err.Error()}
	}
	if _, err := ask(address, "80"); err != nil {
		return outcome{!w.weak, "the host does not reach the container: " + err.Error()}
	}
	// Straight to the container's own address, with the host as the router.
	if _, err := w.fromClient(address, "80"); err == nil {
		return outcome{!w.weak, "the client reaches the container before the reload"}
	}
	// What a reload does: the tables that the firewall shares with others are emptied (iptables -F).
	if err := shell(`for t in filter nat mangle raw; do nft add table ip $t; nft flush table ip $t; nft add table ip6 $t; nft flush table ip6 $t; done`); err != nil {
		return outcome{!w.weak, err.Error()}
	}
	if said, err := w.fromClient(address, "80"); err == nil {
		return worked("the client reaches the container, which is not published to it: %q", said)
	}
	return refused("the client still does not reach the container")
}

func shell(script string) error {
	if out, err := exec.Command("sh", "-euc", script).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func listen(address [4]byte, port int) (int, error) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: address, Port: port}); err != nil {
		return -1, fmt.Errorf("bind to port %d: %w", port, err)
	}
	return l, unix.Listen(l, 8)
}

// answer tells everybody who connects what say makes of the peer's address, until the process ends.
func answer(l int, say func(peer string) string) {
	for {
		fd, peer, err := unix.Accept(l)
		if err != nil {
			return
		}
		if in4, ok := peer.(*unix.SockaddrInet4); ok {
			_, _ = unix.Write(fd, []byte(say(fmt.Sprintf("%d.%d.%d.%d", in4.Addr[0], in4.Addr[1], in4.Addr[2], in4.Addr[3]))))
		}
		unix.Close(fd)
	}
}

// ask connects and reads what the other side says, with some patience.
func ask(address, port string) (string, error) {
	var to unix.SockaddrInet4
	if _, err := fmt.Sscanf(address+" "+port, "%d.%d.%d.%d %d", &to.Addr[0], &to.Addr[1], &to.Addr[2], &to.Addr[3], &to.Port); err != nil {
		return "", err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	patience := unix.Timeval{Sec: 3}
	for _, option := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &patience); err != nil {
			return "", err
		}
	}
	if err := unix.Connect(fd, &to); err != nil {
		return "", fmt.Errorf("connect: %w", err)
	}
	buf := make([]byte, 256)
	n, err := unix.Read(fd, buf)
	if err != nil || n == 0 {
		return "", fmt.Errorf("read %d bytes: %w", n, err)
	}
	return string(buf[:n]), nil
}
