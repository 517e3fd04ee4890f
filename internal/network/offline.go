package network

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// offline reports whether the host has no route to anywhere: a machine without a network, as on a journey. pasta copies
// the host's interface with the default route, and ends where there is none.
func offline() bool {
	v4, err4 := os.ReadFile("/proc/net/route")
	v6, err6 := os.ReadFile("/proc/net/ipv6_route")
	return (err4 == nil || err6 == nil) && !hasDefault4(string(v4)) && !hasDefault6(string(v6))
}

// hasDefault4 looks for a default route in the format of /proc/net/route (proc_pid_net(5)): name, destination,
// gateway, flags and, as the eighth field, mask; numbers in hexadecimal.
func hasDefault4(table string) bool {
	return slices.ContainsFunc(strings.Split(table, "\n"), func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" && usable(f[3])
	})
}

// hasDefault6 does so for /proc/net/ipv6_route: destination and its length, source and its length, next hop, metric,
// two counters, flags, name.
func hasDefault6(table string) bool {
	return slices.ContainsFunc(strings.Split(table, "\n"), func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 9 && strings.Trim(f[0], "0") == "" && f[1] == "00" && f[9] != "lo" && usable(f[8])
	})
}

// usable says of a route's flags that it is up and does not refuse.
func usable(hex string) bool {
	flags, err := strconv.ParseUint(hex, 16, 32)
	return err == nil && flags&unix.RTF_UP != 0 && flags&unix.RTF_REJECT == 0
}
