package policy

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"supd/journal/event"
	"supd/projector"
)

// command accepts a command, or answers why not. The same id again is the
// same command: it is answered, never done again (P2, R8).
func (tx *Tx) command(in Command) {
	req := in.Request
	if tx.knownCommand(req.ID, contentOf(in), in.Actor) {
		return
	}
	if tx.expired(req.ID) {
		tx.act(Reply{Command: req.ID, Reply: event.CommandReply{
			Status: event.ReplyEnded, Command: req.ID, Outcome: event.Expired, Seq: tx.State.Seq(),
		}})
		return
	}
	if in.Full {
		tx.act(Reply{Command: req.ID, Reply: event.CommandReply{
			Status: event.ReplyBusy, Command: req.ID, Reason: event.RejectBusy,
			Detail: "as many commands are open as journal.inbox allows",
		}})
		return
	}
	if tx.State.Supd.Stopping != nil && req.Verb != event.VerbShutdown {
		tx.reject(in, event.RejectShuttingDown, "supd is stopping")
		return
	}
	if why := checkRequest(req, tx.Now); why != "" {
		tx.reject(in, event.RejectMalformed, why)
		return
	}
	if k := tx.State.Supd.Keeper; req.Verb == event.VerbShutdown && req.Args[event.ArgKeepServices] == "true" && k != nil && k.PID == 1 {
		tx.reject(in, event.RejectMalformed, "supd is PID 1: when it ends, the kernel ends every process of the container; shut down without keeping services")
		return
	}
	targets, unknown := Resolve(tx.State, req.Patterns)
	if brings(req.Verb) {
		targets, unknown = concerned(tx.State, in), nil
	}
	if len(unknown) > 0 {
		tx.reject(in, event.RejectUnknownService, unknownText(tx.State, unknown))
		return
	}
	r := tx.emitAs(in.Actor, "", "", event.CommandAcceptedData{
		Command: req.ID, Verb: req.Verb, Patterns: req.Patterns, Targets: targets, Args: req.Args,
		Client: in.Client, Remote: in.Remote, SentAt: req.SentAt,
	})
	tx.act(Reply{Command: req.ID, Reply: event.CommandReply{Status: event.ReplyAccepted, Command: req.ID, Seq: r.Seq}})
	tx.carryOut(in, r, targets)
}

func contentOf(in Command) string {
	return projector.Content(in.Actor, in.Request.Verb, in.Request.Patterns, in.Request.Args)
}

// MaxAhead is how far the time in a command's id may be ahead of supd's clock.
// A forgotten command's time is the horizon below which ids are expired, so one
// id from far ahead would make every later command expired.
const MaxAhead = 5 * time.Minute

// expired tells that an id may be of a command that was forgotten: it is
// refused, never run (R8). A horizon far ahead is of a clock that was set back.
func (tx *Tx) expired(id string) bool {
	ms, now := projector.IDTime(id), tx.Now.Wall.UnixMilli()
	horizon := tx.State.Horizon
	if horizon > now+MaxAhead.Milliseconds() {
		horizon = 0
	}
	return ms > 0 && (ms <= horizon || now-ms > projector.EndedAge.Milliseconds())
}

// knownCommand answers an id that was seen before.
func (tx *Tx) knownCommand(id, content, actor string) bool {
	known := ""
	e, c := tx.State.EndedCommand(id), tx.State.Commands[id]
	switch {
	case e != nil:
		known = e.Content
	case c != nil:
		known = c.Content
	default:
		return false
	}
	switch {
	case known != content:
		r := tx.emitAs(actor, "", "", event.CommandRejectedData{
			Command: &id, Reason: event.RejectIDConflict, Detail: "this id belongs to another command", Count: 1,
		})
		tx.act(Reply{Command: id, Reply: event.CommandReply{
			Status: event.ReplyRejected, Command: id, Seq: r.Seq,
			Reason: event.RejectIDConflict, Detail: "this id belongs to another command",
		}})
	case e != nil:
		tx.act(Reply{Command: id, Reply: EndedReply(e, e.Seq)})
	default:
		tx.act(Reply{Command: id, Reply: event.CommandReply{Status: event.ReplyAccepted, Command: id, Seq: c.Seq}})
	}
	return true
}

func (tx *Tx) reject(in Command, reason, detail string) {
	id := in.Request.ID
	r := tx.emitAs(in.Actor, "", "", event.CommandRejectedData{Command: &id, Reason: reason, Detail: clip(detail), Count: 1})
	tx.act(Reply{Command: id, Reply: event.CommandReply{
		Status: event.ReplyRejected, Command: id, Reason: reason, Detail: clip(detail), Seq: r.Seq,
	}})
}

// checkRequest tells what is wrong with a request; empty if nothing is.
func checkRequest(req event.CommandRequest, now Now) string {
	switch ms := projector.IDTime(req.ID); {
	case ms == 0:
		return "the command's id is no UUIDv7"
	case ms > now.Wall.Add(MaxAhead).UnixMilli():
		return "the time in the command's id is ahead of supd's clock: set the sender's clock right"
	}
	switch req.Verb {
	case event.VerbStart, event.VerbStop, event.VerbRestart, event.VerbReload:
	case event.VerbSignal:
		if _, ok := event.SignalNumber(req.Args[event.ArgSignal]); !ok {
			return fmt.Sprintf("unknown signal %q: give a name such as HUP or a number from 1 to 64", clip(req.Args[event.ArgSignal]))
		}
	case event.VerbScale:
		return checkScale(req)
	case event.VerbShutdown, event.VerbApply, event.VerbUpgrade:
		if len(req.Patterns) > 0 {
			return fmt.Sprintf("%s takes no services", req.Verb)
		}
		if req.Args[event.ArgForce] == "true" && req.Args[event.ArgKeepServices] == "true" {
			return "a shutdown cannot both kill services and keep them"
		}
		return ""
	default:
		return fmt.Sprintf("unknown verb %q", clip(string(req.Verb)))
	}
	if len(req.Patterns) == 0 {
		return fmt.Sprintf("%s needs at least one service, a pattern, or all", req.Verb)
	}
	return ""
}

// carryOut does what the accepted command asks of each target.
func (tx *Tx) carryOut(in Command, r event.Record, targets []string) {
	switch in.Request.Verb {
	case event.VerbShutdown:
		tx.shutdown(r.ID, shutdownOf(in.Request.Args))
		return
	case event.VerbApply, event.VerbScale:
		tx.apply(in, r)
		return
	case event.VerbUpgrade:
		tx.upgrade(in, r)
		return
	}
	c := tx.State.Commands[in.Request.ID]
	for _, name := range targets {
		v := tx.State.Services[name]
		tx.Touched[name] = true
		if _, done := c.Results[name]; done {
			continue // it is as wanted
		}
		switch {
		case c.Verb == event.VerbStart:
			tx.raise(v, event.ReasonCommand, in.Actor, r.ID)
		case c.Verb == event.VerbStop:
			tx.lower(v, event.ReasonCommand, in.Actor, r.ID)
		case c.Verb == event.VerbRestart && !c.Rolling():
			tx.restart(v, in.Actor, r.ID)
		}
	}
	if c.Verb == event.VerbStop { // when all wants are known: who depends on others ends first
		for _, name := range targets {
			if v := tx.State.Services[name]; v.Want == event.Down && !heldUp(tx.State, v) {
				tx.stop(v, event.ReasonCommand, r.ID)
			}
		}
	}
}

// shutdownOf is the orderly end that the arguments of a command ask for.
func shutdownOf(args map[string]string) Shutdown {
	return Shutdown{
		Reason: event.ReasonCommand, KeepServices: args[event.ArgKeepServices] == "true", Forced: args[event.ArgForce] == "true",
	}
}

// brings tells a verb that brings a configuration.
func brings(verb event.Verb) bool { return verb == event.VerbApply || verb == event.VerbScale }

// MaxScale bounds the count of replicas that a command may ask for (P9).
const MaxScale = 10_000

// checkScale tells what is wrong with a request for other counts.
func checkScale(req event.CommandRequest) string {
	if len(req.Patterns) == 0 {
		return "scale needs at least one service and its count"
	}
	for _, base := range req.Patterns {
		if n, err := strconv.Atoi(req.Args[base]); err != nil || n < 0 || n > MaxScale {
			return fmt.Sprintf("the count of %s must be a number from 0 to %d, not %q", clip(base), MaxScale, clip(req.Args[base]))
		}
	}
	return ""
}

// want records what somebody wants of a service. A scheduled restart ends with
// it: a person's start waits for no backoff and for no limiter.
func (tx *Tx) want(v *projector.Service, want event.Want, reason, actor, cause string) {
	if v.Want != want || want == event.Down && v.Remains() {
		tx.emitAs(actor, v.Name, cause, event.ServiceWantedData{Want: want, Reason: reason})
	}
	if v.Phase == event.PhaseBackoff || v.Phase == event.PhaseWaiting && v.NextStart != nil {
		tx.emit(v.Name, cause, event.RestartCancelledData{By: reason})
	}
}

// stop orders the live instance to end; one that is ending already is left to
// the order it has.
func (tx *Tx) stop(v *projector.Service, reason, cause string) {
	if v.Instance == nil || v.Instance.Stop != nil {
		return
	}
	from := tx.Now.Moment()
	if v.Spec.Hooks.PreStop != nil && v.Instance.Running != nil && v.Spec.Stop.Timeout > 0 {
		from = from.Add(event.HookTimeout) // at most; the signal begins the time anew
	}
	tx.emit(v.Name, cause, stopping(v, reason, from))
}

// stopping is the order to end the live instance, by its service's settings.
func stopping(v *projector.Service, reason string, from event.Moment) event.InstanceStoppingData {
	d := event.InstanceStoppingData{
		Instance: v.Instance.ID, Signal: v.Spec.Stop.Signal, Reason: reason, Deadline: from.Add(time.Duration(v.Spec.Stop.Timeout)),
	}
	if v.Spec.Stop.Timeout <= 0 {
		d.Signal = event.Kill
	}
	return d
}

// Resolve turns patterns into the sorted names of services: a name, a glob, a
// replicated service by its base name, all, or a group, which may be written
// with @ before it; a service's own name wins over a group's. It also returns the patterns
// that match nothing; only "all" may.
func Resolve(s *projector.State, patterns []string) (targets, unknown []string) {
	set := map[string]bool{}
	for _, p := range patterns {
		found := p == "all"
		for name, v := range s.Services {
			if !v.Removed && matches(p, name, v) {
				set[name], found = true, true
			}
		}
		if !found {
			found = addGroup(s, strings.TrimPrefix(p, "@"), set)
		}
		if !found {
			unknown = append(unknown, p)
		}
	}
	return slices.Sorted(maps.Keys(set)), unknown
}

func addGroup(s *projector.State, group string, set map[string]bool) (found bool) {
	for name, v := range s.Services {
		if !v.Removed && slices.Contains(v.Spec.GroupsOf, group) {
			set[name], found = true, true
		}
	}
	return found
}

func matches(pattern, name string, v *projector.Service) bool {
	if pattern == "all" || pattern == name || v.Spec.Replica != nil && pattern == v.Spec.Base {
		return true
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

func unknownText(s *projector.State, unknown []string) string {
	text := "no service " + strings.Join(unknown, ", ")
	if near := Near(s, unknown[0]); near != "" {
		return text + fmt.Sprintf("; did you mean %s?", near)
	}
	if len(present(s)) == 0 {
		return text + "; no services are defined"
	}
	return text
}

// present are the services that are not removed, sorted.
func present(s *projector.State) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.Services)), func(n string) bool { return s.Services[n].Removed })
}

// Near is the service that a pattern which matches none may have meant, or
// empty.
func Near(s *projector.State, pattern string) string { return nearest(pattern, present(s)) }

// nearest finds the name with the smallest edit distance, if it is near
// enough to be a slip.
func nearest(word string, names []string) string {
	best, bestAt := "", 3
	for _, n := range names {
		if d := distance(word, n); d < bestAt && d < len(n) {
			best, bestAt = n, d
		}
	}
	return best
}

func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
