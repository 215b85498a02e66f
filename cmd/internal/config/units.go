package config

import (
	"math"
	"strconv"
	"strings"
	"time"

	"supd/journal/event"
)

// maxDuration is the longest that may be configured: deadlines are nanoseconds
// since boot, and a sum that overflowed would be one that is over at once.
const maxDuration = 100 * 365 * 24 * time.Hour

// parseDuration reads "500ms", "10s", "1h30m"; "0" is none.
func parseDuration(s string) (event.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, &event.ParseError{What: "duration", Value: s, Want: `want a number with a unit, such as "500ms", "10s" or "2h"`}
	}
	if d < 0 {
		return 0, &event.ParseError{What: "duration", Value: s, Want: "it is negative"}
	}
	if d > maxDuration {
		return 0, &event.ParseError{What: "duration", Value: s, Want: "it is longer than 100 years (876000h)"}
	}
	return event.Duration(d), nil
}

// units of sizes, in bytes.
var units = map[string]int64{
	"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1e3, "MB": 1e6, "GB": 1e9,
}

// parseSize reads bytes: "4096", "16MiB", "1GB".
func parseSize(s string) (int64, error) {
	digits := 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	unit, known := units[s[digits:]]
	switch {
	case digits == 0 || !known:
		return 0, &event.ParseError{What: "size", Value: s, Want: `want bytes or a number with KiB, MiB, GiB, kB, MB or GB, such as "16MiB"`}
	case err != nil || n > math.MaxInt64/unit:
		return 0, &event.ParseError{What: "size", Value: s, Want: "it is too large"}
	}
	return n * unit, nil
}

// parseOctal reads permission bits: "0660".
func parseOctal(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || len(s) > 4 || n > 0o777 {
		return 0, &event.ParseError{What: "octal number", Value: s, Want: `want up to "0777"`}
	}
	return uint32(n), nil
}

// parseSignal reads a signal's name, with or without SIG, and returns it as
// records carry it: SIGTERM.
func parseSignal(s string) (string, error) {
	number, ok := event.SignalNumber(s)
	if _, err := strconv.Atoi(s); !ok || err == nil {
		return "", &event.ParseError{What: "signal", Value: s, Want: `want a name such as "TERM", "INT", "HUP" or "USR1"`}
	}
	return event.SignalName(number), nil
}

// parseInteger reads a TOML integer.
func parseInteger(s string) (int64, error) {
	return strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 0, 64)
}

// parseFloat reads a TOML number.
func parseFloat(s string) (float64, error) {
	return strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
}
