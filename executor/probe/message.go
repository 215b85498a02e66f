package probe

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// Bounds of what one message may say (P9).
const (
	maxMessage = 4096 // bytes of a datagram; systemd's own bound
	maxStatus  = 256  // bytes of STATUS that are passed on
	maxSpan    = 24 * time.Hour
)

// message is one datagram of the sd_notify protocol, as far as it matters here.
// What else it says (FDSTORE, ERRNO, NOTIFYACCESS, …) is passed over: supd stores
// no descriptors, and hears every process of the service.
type message struct {
	ready, reloading, stopping, barrier bool

	alive   bool          // WATCHDOG=1
	trigger bool          // WATCHDOG=trigger: treat me as if I hung
	every   time.Duration // WATCHDOG_USEC: the new interval; 0: none told
	extend  time.Duration // EXTEND_TIMEOUT_USEC; 0: none told

	status    string
	hasStatus bool

	main    int // MAINPID; 0: what it said is no process id
	hasMain bool
}

// parseMessage reads a datagram. Nothing in it is an error: lines that make no
// sense are passed over, as every reader of this protocol does, so that newer
// services work with older supervisors.
func parseMessage(b []byte) message {
	var m message
	if len(b) > maxMessage {
		return m
	}
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		name, value, ok := bytes.Cut(line, []byte{'='})
		if ok {
			m.take(string(name), string(value))
		}
	}
	return m
}

func (m *message) take(name, value string) {
	switch name {
	case "READY":
		m.ready = m.ready || value == "1"
	case "RELOADING":
		m.reloading = m.reloading || value == "1"
	case "STOPPING":
		m.stopping = m.stopping || value == "1"
	case "BARRIER":
		m.barrier = m.barrier || value == "1"
	case "WATCHDOG":
		m.alive = m.alive || value == "1"
		m.trigger = m.trigger || value == "trigger"
	case "WATCHDOG_USEC":
		m.every = microseconds(value)
	case "EXTEND_TIMEOUT_USEC":
		m.extend = microseconds(value)
	case "STATUS":
		m.status, m.hasStatus = clean(value, maxStatus), true
	case "MAINPID":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			n = 0
		}
		m.main, m.hasMain = int(n), true
	}
}

// microseconds reads a span. One beyond a day is a day: a service must not talk
// itself out of every deadline.
func microseconds(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0
	}
	if n > uint64(maxSpan/time.Microsecond) {
		return maxSpan
	}
	return time.Duration(n) * time.Microsecond
}

// clean makes text of others fit to be shown: valid UTF-8, no control
// characters, at most n bytes.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	for len(s) > n {
		n--
		for n > 0 && s[n]&0xc0 == 0x80 { // not inside a rune
			n--
		}
		s = s[:n]
	}
	return strings.TrimSpace(s)
}
