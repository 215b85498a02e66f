package event

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a time span that reads as Go writes it ("1.5s") in JSON.
type Duration time.Duration

// String is the form that JSON carries.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// Moment is a deadline: the boot clock decides within a boot, the wall clock
// is for people and for the next boot (R13).
type Moment struct {
	Mono int64     `json:"mono"` // CLOCK_BOOTTIME, nanoseconds
	Wall time.Time `json:"wall"`
}

// Add returns the moment d later.
func (m Moment) Add(d time.Duration) Moment {
	return Moment{Mono: m.Mono + int64(d), Wall: m.Wall.Add(d)}
}

// Want is what someone wants of a service, apart from what it is.
type Want string

// The two wants.
const (
	Up   Want = "up"
	Down Want = "down"
)

// Phase is what a service is doing.
type Phase string

// The phases. Waiting belongs to dependencies and the start limiter.
const (
	PhaseStopped  Phase = "stopped"
	PhaseWaiting  Phase = "waiting"
	PhaseStarting Phase = "starting"
	PhaseRunning  Phase = "running"
	PhaseStopping Phase = "stopping"
	PhaseBackoff  Phase = "backoff"
	PhaseExited   Phase = "exited"
	PhaseFatal    Phase = "fatal"
	PhaseStuck    Phase = "stuck"
)

// Phases lists all phases in the order people meet them.
func Phases() []Phase {
	return []Phase{
		PhaseStopped, PhaseWaiting, PhaseStarting, PhaseRunning, PhaseStopping,
		PhaseBackoff, PhaseExited, PhaseFatal, PhaseStuck,
	}
}

// Outcome is how a command, or a command for one service, ended.
type Outcome string

// The outcomes (R8).
const (
	Done       Outcome = "done"
	Unchanged  Outcome = "unchanged"
	Failed     Outcome = "failed"
	Refused    Outcome = "refused"
	Superseded Outcome = "superseded"
	Expired    Outcome = "expired"
	InDoubt    Outcome = "in-doubt"
)

// Previous tells how the process before this one ended; null where it is
// not known or there was none.
type Previous struct {
	PID    int    `json:"pid"`
	Code   *int   `json:"code"`
	Signal string `json:"signal,omitempty"`
}

// ParseError is a duration, size or name that cannot be read.
type ParseError struct{ What, Value, Want string }

func (e *ParseError) Error() string {
	return fmt.Sprintf("cannot read %s %q: %s", e.What, e.Value, e.Want)
}
