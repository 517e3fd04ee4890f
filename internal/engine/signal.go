package engine

import (
	"strconv"
	"strings"
)

// signalNames has the name of each signal at its number; they are the same on amd64 and arm64 (signal(7)).
var signalNames = [...]string{
	1: "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
	"TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
	"WINCH", "IO", "PWR", "SYS",
}

// The real-time signals as C libraries count them: the first two or three of the kernel's are theirs.
const (
	sigRTMin = 34
	sigRTMax = 64
	sigTerm  = 15
)

// parseSignal reads a signal: its number, or its name in any case with or without SIG, or RTMIN+n, RTMAX-n.
func parseSignal(flag, value string) (int, error) {
	name := strings.TrimPrefix(strings.ToUpper(value), "SIG")
	if value != "" && digits(value) {
		if n, err := strconv.Atoi(value); err == nil && n >= 1 && n <= sigRTMax {
			return n, nil
		}
		return 0, badValue(flag, value, "is not a signal", "signals are 1 to 64")
	}
	for n, s := range signalNames {
		if s == name && n > 0 {
			return n, nil
		}
	}
	switch name {
	case "IOT":
		return 6, nil
	case "POLL":
		return 29, nil
	case "RTMIN":
		return sigRTMin, nil
	case "RTMAX":
		return sigRTMax, nil
	}
	if d, ok := strings.CutPrefix(name, "RTMIN+"); ok && d != "" && digits(d) {
		if n, err := strconv.Atoi(d); err == nil && n <= sigRTMax-sigRTMin {
			return sigRTMin + n, nil
		}
	}
	if d, ok := strings.CutPrefix(name, "RTMAX-"); ok && d != "" && digits(d) {
		if n, err := strconv.Atoi(d); err == nil && n <= sigRTMax-sigRTMin {
			return sigRTMax - n, nil
		}
	}
	return 0, badValue(flag, value, "is not a signal", "signal(7) lists them, for instance SIGTERM, TERM or 15")
}
