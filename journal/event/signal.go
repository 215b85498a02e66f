package event

import (
	"strconv"
	"strings"
)

// signals are Linux's signals by number, the same on every architecture that
// supd is built for.
var signals = [...]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 10: "USR1",
	11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT", 17: "CHLD", 18: "CONT", 19: "STOP",
	20: "TSTP", 21: "TTIN", 22: "TTOU", 23: "URG", 24: "XCPU", 25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH",
	29: "IO", 30: "PWR", 31: "SYS",
}

// Kill is the name of the signal that cannot be caught.
const Kill = "SIGKILL"

const (
	realtimeFirst = 34 // SIGRTMIN as libc gives it to programs
	realtimeLast  = 64
)

// SignalNumber reads a signal by name, with or without SIG, in any case, or
// by number; RTMIN+3 and RTMAX-1 count too.
func SignalNumber(name string) (int, bool) {
	s := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if n, err := strconv.Atoi(s); err == nil {
		return n, n > 0 && n <= realtimeLast
	}
	for n, known := range signals {
		if known == s && n > 0 {
			return n, true
		}
	}
	base, sign := realtimeFirst, 1
	rest, ok := strings.CutPrefix(s, "RTMIN")
	if !ok {
		if rest, ok = strings.CutPrefix(s, "RTMAX"); !ok {
			return 0, false
		}
		base, sign = realtimeLast, -1
	}
	n := 0
	if rest != "" {
		v, err := strconv.Atoi(rest)
		if err != nil || v*sign < 0 || rest[0] >= '0' && rest[0] <= '9' {
			return 0, false
		}
		n = v
	}
	return base + n, base+n >= realtimeFirst && base+n <= realtimeLast
}

// SignalName names a signal as records carry it: SIGTERM, SIGRTMIN+3, or its
// bare number.
func SignalName(n int) string {
	switch {
	case n > 0 && n < len(signals):
		return "SIG" + signals[n]
	case n == realtimeFirst:
		return "SIGRTMIN"
	case n > realtimeFirst && n <= realtimeLast:
		return "SIGRTMIN+" + strconv.Itoa(n-realtimeFirst)
	}
	return strconv.Itoa(n)
}
