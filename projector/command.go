package projector

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"supd/journal/event"
)

// Content is the digest of what a command asks and who asks it: an id that
// comes again with another content is refused (R8).
func Content(actor string, verb event.Verb, patterns []string, args map[string]string) string {
	// Absent and empty are one: which of them a caller's JSON had is not kept.
	b, err := event.Marshal([]any{actor, verb, append([]string{}, patterns...), withoutEmpty(args)})
	if err != nil {
		panic("a command must always encode: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

func withoutEmpty(args map[string]string) map[string]string {
	if len(args) == 0 {
		return nil
	}
	return args
}

// IDTime reads the milliseconds since 1970 that a UUIDv7 carries; 0 for
// anything else.
func IDTime(id string) int64 {
	if len(id) != 36 || id[8] != '-' || id[14] != '7' {
		return 0
	}
	ms, err := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
	if err != nil {
		return 0
	}
	return ms
}

// SignalOperation names the signal that a command sends to an instance.
func SignalOperation(command string) string { return "command:" + command }

// applyAccepted opens a command. A target that already is as wanted has its
// result at once; a later want supersedes an earlier one that contradicts it.
func (s *State) applyAccepted(r *event.Record, d event.CommandAcceptedData) error {
	if s.Commands[d.Command] != nil || s.ended[d.Command] != nil {
		return fmt.Errorf("%w: command %s was accepted before", ErrImpossible, d.Command)
	}
	for _, name := range d.Targets {
		if s.Services[name] == nil && !configures(d.Verb) { // which adds services
			return fmt.Errorf("%w: there is no service %q", ErrImpossible, name)
		}
	}
	c := &Command{
		ID: d.Command, Verb: d.Verb, Actor: r.Actor, Content: Content(r.Actor, d.Verb, d.Patterns, d.Args), Args: withoutEmpty(d.Args),
		Record: r.ID, Seq: r.Seq, Accepted: event.Moment{Mono: r.Mono, Wall: r.Time}, Boot: r.Boot,
		Targets: d.Targets, After: map[string]event.Run{}, Results: map[string]event.Result{},
	}
	s.Commands[c.ID] = c
	for _, name := range c.Targets {
		v := s.Services[name]
		if c.Configures() { // what it waits for is decided by config.applied
			if c.After[name] = 0; v != nil {
				c.After[name] = v.Run
			}
			continue
		}
		c.After[name] = v.Run
		if res, ok := v.already(c); ok {
			c.Results[name] = res
			continue
		}
		s.supersede(v, c)
		v.Pending = append(v.Pending, c.ID)
	}
	if c.Rolling() {
		s.rolling = append(s.rolling, c.ID)
	}
	s.noteResolved(c)
	return nil
}

// configures tells a verb that brings a configuration.
func configures(verb event.Verb) bool { return verb == event.VerbApply || verb == event.VerbScale }

// Configures tells that the command brings a configuration: what becomes of
// its targets is decided by that.
func (c *Command) Configures() bool { return configures(c.Verb) }

// Rolling tells that the command does one target after the other.
func (c *Command) Rolling() bool {
	return c.Verb == event.VerbRestart && c.Args[event.ArgRolling] == "true"
}

// already gives the result of a command that finds its target as wanted.
func (v *Service) already(c *Command) (event.Result, bool) {
	switch {
	case c.Verb == event.VerbStart && v.Want == event.Up && v.Phase == event.PhaseRunning:
		return event.Result{Service: v.Name, Outcome: event.Unchanged, Instance: v.Instance.ID}, true
	case c.Verb == event.VerbStart && v.Remains():
		return event.Result{Service: v.Name, Outcome: event.Unchanged}, true
	case (c.Verb == event.VerbStart || c.Verb == event.VerbRestart) && v.Waiting != nil && v.Waiting.Failed != "":
		return event.Result{Service: v.Name, Outcome: event.Failed, Error: v.Waiting.Failed}, true
	case c.Verb == event.VerbStop && v.Remains():
		return event.Result{}, false // it counts as up
	case c.Verb == event.VerbStop && v.Want == event.Down && v.Settled():
		return event.Result{Service: v.Name, Outcome: event.Unchanged}, true
	case c.Verb == event.VerbReload && v.Spec.ReloadSignal == "":
		return event.Result{Service: v.Name, Outcome: event.Refused, Error: NoReloadSignal}, true
	case (c.Verb == event.VerbSignal || c.Verb == event.VerbReload) && (v.Instance == nil || v.Instance.Running == nil):
		return event.Result{Service: v.Name, Outcome: event.Refused, Error: NotRunning}, true
	}
	return event.Result{}, false
}

// supersede ends, for this service, the open commands that want the opposite.
func (s *State) supersede(v *Service, by *Command) {
	up := func(verb event.Verb) bool {
		return verb == event.VerbStart || verb == event.VerbRestart || configures(verb)
	}
	for _, id := range slices.Clone(v.Pending) {
		c := s.Commands[id]
		if c.Verb == event.VerbStop && up(by.Verb) || up(c.Verb) && by.Verb == event.VerbStop {
			s.resolve(v, c, event.Result{Service: v.Name, Outcome: event.Superseded, Error: "superseded by command " + by.ID})
		}
	}
}

// settleTargets gives the open commands of a service their results, as soon
// as the service is where they want it, or cannot get there.
func (s *State) settleTargets(v *Service) {
	for _, id := range slices.Clone(v.Pending) {
		c := s.Commands[id]
		if res, ok := v.result(c); ok {
			res.Service = v.Name
			s.resolve(v, c, res)
		}
	}
}

func (v *Service) result(c *Command) (event.Result, bool) {
	switch c.Verb {
	case event.VerbStop:
		if v.Settled() && !v.Remains() {
			return event.Result{Outcome: event.Done}, true
		}
	case event.VerbStart, event.VerbRestart:
		return v.startResult(c)
	case event.VerbSignal, event.VerbReload:
		switch {
		case v.Instance == nil:
			return event.Result{Outcome: event.Refused, Error: NotRunning}, true
		case c.Verb == event.VerbReload && v.Spec.ReloadSignal == "":
			return event.Result{Outcome: event.Refused, Error: NoReloadSignal}, true
		}
	case event.VerbApply, event.VerbScale:
		if !v.Removed {
			return v.startResult(c)
		}
		if !v.Busy() {
			return event.Result{Outcome: event.Done}, true
		}
	}
	return event.Result{}, false
}

// Errors of results, which programs may compare.
const (
	NotRunning     = "not running" // a running instance was needed
	NoReloadSignal = "it has no reload.signal: set one in its configuration and apply it, or use supctl signal"
)

func (v *Service) startResult(c *Command) (event.Result, bool) {
	after := c.After[v.Name]
	if v.Spec.Oneshot() {
		if v.Completed && v.Phase == event.PhaseExited && (v.Run > after || c.Verb == event.VerbStart) {
			return event.Result{Outcome: event.Done, Instance: v.LastExit.Instance}, true
		}
	} else if v.Phase == event.PhaseRunning && (v.Instance.Run > after || c.Verb == event.VerbStart) {
		return event.Result{Outcome: event.Done, Instance: v.Instance.ID}, true
	}
	// It has done its work, before it was what it is now: no other instance follows.
	if x := v.LastExit; x != nil && (x.Run > after || c.Configures()) && v.Settled() && v.Want == event.Down && v.WantReason == event.ReasonCompleted {
		return event.Result{Outcome: event.Done, Instance: x.Instance}, true
	}
	if v.Phase == event.PhaseFatal && v.Want == event.Down {
		return event.Result{Outcome: event.Failed, Error: v.Fatal}, true
	}
	if f := v.Failure; f != nil && v.Phase == event.PhaseBackoff {
		return event.Result{Outcome: event.Failed, Error: f.Text()}, true
	}
	// An instance of this command that ended before it was ready: supd may try
	// again, but the caller must hear of it now. A simple service that has to say
	// nothing is ready when it runs.
	x, failed := v.LastExit, false
	if x != nil && x.Run > after && !v.Busy() && v.Phase != event.PhaseExited {
		failed = !x.Ready && (x.Stop == "" || Failing(x.Stop)) || v.Spec.Oneshot() && v.Phase == event.PhaseBackoff
	}
	if failed {
		return event.Result{Outcome: event.Failed, Instance: x.Instance, Error: x.FailureText()}, true
	}
	if w := v.Waiting; w != nil && w.Failed != "" {
		return event.Result{Outcome: event.Failed, Error: w.Failed}, true
	}
	return event.Result{}, false
}

// FailureText says why an instance did not start.
func (x *LastExit) FailureText() string {
	how := "nobody knows how"
	switch {
	case x.Exec != nil:
		return x.Exec.Text()
	case x.Stop == event.ReasonStartTimeout:
		return "it was not ready in time"
	case x.Stop == event.ReasonHook:
		return "its pre_start hook failed"
	case !x.Ran:
		return "it ended before its program was executed"
	case x.Signal != nil:
		how = *x.Signal
	case x.Code != nil:
		how = fmt.Sprintf("exit %d", *x.Code)
	}
	if x.Ready {
		return "it failed: " + how
	}
	return "it ended before it was ready: " + how + x.Hint()
}

// Hint says, behind a text about the exit, what to do about a program that went
// into the background; empty if this one did not.
func (x *LastExit) Hint() string {
	switch {
	case !x.Background:
		return ""
	case x.Ready:
		return "; " + backgroundHint + ", or set restart = \"on-failure\""
	}
	return "; " + backgroundHint
}

const backgroundHint = "hint: did it go into the background? It must run in the foreground: look for an option such as --foreground"

// Failing tells the reasons of stop orders that are no wish of anybody's: what
// ends so has failed, like one that crashed.
func Failing(reason string) bool {
	switch reason {
	case event.ReasonStartTimeout, event.ReasonHealth, event.ReasonWatchdog, event.ReasonHook:
		return true
	}
	return false
}

// Text says what failed, for people.
func (f *ExecFailure) Text() string {
	switch {
	case f.Step == "exec" && f.Path != "":
		return fmt.Sprintf("cannot execute %s: %s", f.Path, f.Error)
	case f.Path != "":
		return fmt.Sprintf("cannot set up %s (%s): %s", f.Step, f.Path, f.Error)
	}
	return fmt.Sprintf("cannot set up %s: %s", f.Step, f.Error)
}

// applyCommandSignal gives a signal command its result.
func (s *State) applyCommandSignal(v *Service, d event.InstanceSignaledData) {
	id, ok := strings.CutPrefix(d.Operation, SignalOperation(""))
	c := s.Commands[id]
	if !ok || c == nil || !slices.Contains(v.Pending, id) {
		return
	}
	res := event.Result{Service: v.Name, Outcome: event.Done, Instance: d.Instance}
	switch d.Result {
	case "sent":
	case "gone":
		res.Outcome, res.Error = event.Refused, NotRunning
	case "unknown":
		res.Outcome, res.Error = event.InDoubt, "supd was restarted while the signal was being sent: it was sent once or not at all"
	default:
		res.Outcome, res.Error = event.Failed, fmt.Sprintf("cannot send %s: errno %d", d.Signal, d.Errno)
	}
	s.resolve(v, c, res)
}

func (s *State) resolve(v *Service, c *Command, res event.Result) {
	v.Pending = slices.DeleteFunc(v.Pending, func(id string) bool { return id == c.ID })
	s.setResult(c, res)
}

func (s *State) setResult(c *Command, res event.Result) {
	c.Results[res.Service] = res
	if c.Rolling() && res.Outcome != event.Done && res.Outcome != event.Unchanged {
		s.stopRolling(c, res)
	}
	s.noteResolved(c)
}

// stopRolling ends a command that does one target after the other at the first
// that is not as wanted: the rest is left as it is.
func (s *State) stopRolling(c *Command, by event.Result) {
	for _, name := range c.Targets {
		if _, done := c.Results[name]; done {
			continue
		}
		if v := s.Services[name]; v != nil {
			v.Pending = slices.DeleteFunc(v.Pending, func(id string) bool { return id == c.ID })
		}
		c.Results[name] = event.Result{
			Service: name, Outcome: event.Refused, Error: fmt.Sprintf("not reached: %s %s", by.Service, by.Outcome),
		}
	}
}

func (s *State) noteResolved(c *Command) {
	alone := c.Verb == event.VerbShutdown || c.Verb == event.VerbUpgrade || c.Configures() && len(c.Targets) == 0 // ended by who decides
	if len(c.Results) == len(c.Targets) && !alone && !slices.Contains(s.resolved, c.ID) {
		s.resolved = append(s.resolved, c.ID)
	}
}

func (s *State) findResolved() {
	s.resolved = nil
	var open []*Command
	for _, c := range s.Commands {
		open = append(open, c)
	}
	slices.SortFunc(open, func(a, b *Command) int { return int(a.Seq) - int(b.Seq) })
	s.rolling = nil
	for _, c := range open {
		s.noteResolved(c)
		if c.Rolling() {
			s.rolling = append(s.rolling, c.ID)
		}
	}
}

func (s *State) applyEnded(r *event.Record, d event.CommandEndedData) error {
	c := s.Commands[d.Command]
	if c == nil {
		return fmt.Errorf("%w: command %s is not open", ErrImpossible, d.Command)
	}
	for _, name := range c.Targets {
		if v := s.Services[name]; v != nil {
			v.Pending = slices.DeleteFunc(v.Pending, func(id string) bool { return id == c.ID })
		}
	}
	delete(s.Commands, c.ID)
	is := func(id string) bool { return id == c.ID }
	s.resolved, s.rolling = slices.DeleteFunc(s.resolved, is), slices.DeleteFunc(s.rolling, is)
	e := &Ended{ID: c.ID, Content: c.Content, Outcome: d.Outcome, Results: d.Results, Duration: d.Duration, Seq: r.Seq, At: r.Time}
	s.Ended = append(s.Ended, e)
	s.ended[e.ID] = e
	s.forgetEnded(r.Time)
	return nil
}

// forgetEnded keeps the memory of ended commands bounded (P9). What is
// forgotten is never run again: its time moves the horizon.
func (s *State) forgetEnded(now time.Time) {
	drop := max(0, len(s.Ended)-MaxEnded)
	for drop < len(s.Ended) && now.Sub(s.Ended[drop].At) > EndedAge {
		drop++
	}
	for _, e := range s.Ended[:drop] {
		s.Horizon = max(s.Horizon, IDTime(e.ID))
		delete(s.ended, e.ID)
	}
	clear(s.Ended[:drop])
	s.Ended = s.Ended[drop:] // moving thousands for each that ends would be most of a replay
}
