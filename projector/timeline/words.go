package timeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"supd/journal/event"
)

func processes(ps []event.Process) string {
	all := make([]string, len(ps))
	for i, p := range ps {
		all[i] = fmt.Sprintf("%s[%d]", p.Comm, p.PID)
	}
	if len(all) == 0 {
		return "none"
	}
	return names(all)
}

// names lists a few and counts the rest: a line stays a line.
func names(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

// span writes a duration to three or four digits.
func span(d event.Duration) string {
	t := time.Duration(d)
	for _, unit := range [...]time.Duration{time.Minute, time.Second, time.Millisecond, time.Microsecond} {
		if t >= unit {
			return t.Round(unit / 1000).String()
		}
	}
	return t.String()
}

func size(n int64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < 3 {
		value, prefix = value/unit, prefix+1
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + " " + "KMGT"[prefix:prefix+1] + "iB"
}

func count(n int, what string) string { return plural(n, what, what+"s") }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func times(n int) string {
	if n <= 1 {
		return ""
	}
	return fmt.Sprintf(" (%d times)", n)
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func spaced(s string) string {
	if s == "" {
		return ""
	}
	return s + " "
}

func spacedBefore(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

// harmless tells that there is nothing to clean: only plain ASCII.
func harmless(b []byte) bool {
	var seen byte // whether a byte had its highest bit, or was below a space, or was DEL
	for _, x := range b {
		seen |= x | (x - ' ') | (x + 1)
	}
	return seen < 0x80
}

// clean replaces what could steer a terminal or break the line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(s, "·"))
}
