package seccomp

// Number returns the number of a system call on an architecture. For x32 the number has bit 30 set, as the kernel
// sees it. The second result is false when the architecture has no such call.
func Number(a Arch, name string) (uint32, bool) {
	i := callIndex(name)
	if i < 0 || a == 0 || a >= archEnd {
		return 0, false
	}
	nr := callNumbers[archs[a].table][i]
	return uint32(nr), nr >= 0
}

// Name returns the name of a system call number on an architecture, or "" if it has none. It searches the whole
// table: it is for messages, not for hot paths.
func Name(a Arch, nr uint32) string {
	if a == 0 || a >= archEnd {
		return ""
	}
	for i, n := range &callNumbers[archs[a].table] {
		if n >= 0 && uint32(n) == nr {
			return callNames[i]
		}
	}
	return ""
}

// Names returns the names of every system call of an architecture, sorted.
func Names(a Arch) []string {
	if a == 0 || a >= archEnd {
		return nil
	}
	var out []string
	for i, n := range &callNumbers[archs[a].table] {
		if n >= 0 {
			out = append(out, callNames[i])
		}
	}
	return out
}

// callIndex returns the index of a name in callNames, or -1. The hash table is data of the binary, because a map
// would be built at every start of a program that links this package.
func callIndex(name string) int {
	for at := hashName(name); ; at++ {
		i := callHash[at%uint32(len(callHash))]
		if i == 0 {
			return -1
		}
		if callNames[i-1] == name {
			return int(i - 1)
		}
	}
}

// hashName is FNV-1a; gen computes the same.
func hashName(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// similarName returns the known name that a person most likely meant, or "".
func similarName(name string) string {
	best, least := "", 3
	for _, n := range &callNames {
		if len(name) < 4 || n[0] != name[0] || len(n) > len(name)+2 || len(name) > len(n)+2 {
			continue
		}
		if d := distance(name, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two names, or a large number for long ones.
func distance(a, b string) int {
	if len(a) > 32 || len(b) > 32 {
		return len(a) + len(b)
	}
	var row [33]int
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}

// multiplexed says through which multiplexing call of the architecture a call (index in callNames) can also be
// made, and with which first argument: socketcall(2) numbers its calls from 1, ipc(2) likewise.
func (i *archInfo) multiplexed(call int32) (nr, selector uint32, ok bool) {
	const ipcOffset = 100 // as gen writes it
	switch m := uint32(callMux[call]); {
	case m == 0 || i.socketcall == 0:
		return 0, 0, false
	case m > ipcOffset:
		return i.ipc, m - ipcOffset, true
	default:
		return i.socketcall, m, true
	}
}
