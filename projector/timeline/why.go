package timeline

import (
	"fmt"
	"strings"
	"time"

	"supd/journal/event"
)

// Root names what a chain of causes begins with.
type Root string

// The roots.
const (
	RootCommand      Root = "command"       // somebody asked for it
	RootExit         Root = "exit"          // the program ended by itself, with this code
	RootSignal       Root = "signal"        // a signal ended it that supd did not send
	RootOutOfMemory  Root = "out-of-memory" // the kernel ended it for its memory
	RootExec         Root = "exec"          // its program could not be executed
	RootShortage     Root = "shortage"      // the machine has no resources for another process
	RootStartTimeout Root = "start-timeout" // it was not ready in time
	RootHealth       Root = "health"        // its health check failed
	RootWatchdog     Root = "watchdog"      // it did not report in time
	RootHook         Root = "hook"          // its hook failed
	RootDependency   Root = "dependency"    // another service, and more is not known
	RootConfig       Root = "configuration" // a configuration was applied
	RootAutostart    Root = "autostart"     // supd starts it by itself
	RootSupd         Root = "supd"          // supd itself died
	RootReboot       Root = "reboot"        // the machine started anew
	RootShutdown     Root = "shutdown"      // supd was told to end
	RootLimiter      Root = "limiter"       // too many starts at once
	RootUnknown      Root = "unknown"       // nobody could tell, not even the kernel
	RootForgotten    Root = "before"        // the cause is before the oldest record
)

// Link is one record of a chain of causes.
type Link struct {
	Seq     event.Seq  `json:"seq"`
	Time    time.Time  `json:"time"`
	Kind    event.Kind `json:"kind"`
	Service string     `json:"service"` // empty: about supd
	Actor   string     `json:"actor"`
	Text    string     `json:"text"`
}

// Explanation is a chain of causes, from what is asked about back to its root.
type Explanation struct {
	Service  string `json:"service"`
	Instance string `json:"instance"` // empty: the service's present
	Root     Root   `json:"root"`
	Summary  string `json:"summary"`
	Chain    []Link `json:"chain"`
	Complete bool   `json:"complete"` // false: the chain goes on before the oldest record

	// Failed is the instance whose program failed by itself, at the root of the
	// chain; what it wrote tells more. Empty for every other root.
	Failed string `json:"-"`

	wrote string // the command that shows what that wrote
}

// maxChain bounds a chain of causes.
const maxChain = 64

// Why explains the service as it is after the last record that was added, or
// the end of the instance that the story is about; its start, if it lives.
func (s *Story) Why() (Explanation, error) {
	head, instance := s.heads[s.service], ""
	switch {
	case s.only != "" && s.chosen == "":
		return Explanation{}, fmt.Errorf("no start of instance %s of %s is in these records, which begin with record %d", s.only, s.service, s.first)
	case s.only != "" && s.death != "":
		head, instance = s.death, s.chosen
	case s.only != "":
		head, instance = s.traces[s.chosen].starting, s.chosen
	case head == "" && s.described:
		return Explanation{}, fmt.Errorf("nothing has happened to %s but its definition", s.service)
	case head == "" && s.first == 0:
		return Explanation{}, fmt.Errorf("the journal has no record up to that moment")
	case head == "":
		return Explanation{}, fmt.Errorf("no record is about a service %s; the records begin with %d", s.service, s.first)
	}
	e := s.explain(head)
	e.Service, e.Instance = s.service, instance
	return e, nil
}

func (s *Story) explain(id string) Explanation {
	e := Explanation{Complete: true}
	passed := map[event.Kind]string{} // reasons met on the way, by kind
	seen := map[string]bool{}
	var last event.Record
	head := &told{}
	for id != "" && len(e.Chain) < maxChain {
		n, ok := s.find(id)
		if !ok {
			e.Root, e.Complete = RootForgotten, false
			e.Summary = fmt.Sprintf("the cause of record %d is before the oldest record there is, %d", last.Seq, s.first)
			return e
		}
		if seen[n.record.ID] {
			break
		}
		head, last = n, n.record
		seen[last.ID] = true
		passed[last.Kind] = reasonOf(last.Data)
		e.Chain = append(e.Chain, Link{Seq: last.Seq, Time: last.Time, Kind: last.Kind, Service: last.Subject, Actor: last.Actor, Text: clean(n.because())})
		id, e.Root = s.before(n)
	}
	e.Root = flavour(e.Root, last, passed)
	e.Summary = clean(head.because())
	e.Failed, e.wrote = s.wrote(last)
	if last.Subject != "" {
		e.Summary = last.Subject + ": " + e.Summary
	}
	return e
}

// before is the record that led to this one, or the root that it is.
func (s *Story) before(n *told) (id string, root Root) {
	r := n.record
	switch d := r.Data.(type) {
	case event.CommandAcceptedData:
		return "", RootCommand
	case event.InstanceExecFailedData:
		return "", RootExec
	case event.HealthChangedData:
		return "", RootHealth
	case event.HookEndedData:
		return "", RootHook
	case event.EngineStartedData:
		return "", engineRoot(d)
	case event.KeeperStartedData:
		return n.before, RootSupd
	case event.ServiceWaitingData:
		if d.Limiter {
			return "", RootLimiter
		}
		for _, w := range d.For {
			if head := s.heads[w.Service]; head != "" {
				return head, RootDependency
			}
		}
		// Who asked for it is no reason for its waiting.
		return "", RootDependency
	case event.InstanceExitedData:
		return s.beforeExit(n, d)
	case event.InstanceStoppingData:
		return s.beforeStop(n, d), stopRoot(d.Reason)
	case event.ServiceFatalData:
		return r.Cause, fatalRoot(d.Reason)
	case event.ConfigAppliedData:
		return r.Cause, RootConfig
	case event.SupdStoppingData:
		return r.Cause, RootShutdown
	}
	return firstOf(r.Cause, n.before), RootUnknown
}

// beforeStop is what a stop goes back to. One for a time that ran out has its
// instance as its cause, which is no explanation.
func (s *Story) beforeStop(n *told, d event.InstanceStoppingData) string {
	switch d.Reason {
	case event.ReasonStartTimeout, event.ReasonWatchdog:
		return ""
	case event.ReasonHealth:
		return n.before
	case event.ReasonHook:
		if t := s.traces[d.Instance]; t != nil {
			return t.hook
		}
		return ""
	}
	return n.record.Cause
}

func (s *Story) beforeExit(n *told, d event.InstanceExitedData) (string, Root) {
	switch {
	case n.record.Cause != "":
		return n.record.Cause, RootUnknown
	case n.before != "":
		return n.before, RootUnknown
	case d.OOM:
		return "", RootOutOfMemory
	case d.Signal != nil:
		return "", RootSignal
	case d.Code != nil:
		return "", RootExit
	}
	return "", RootUnknown
}

func firstOf(ids ...string) string {
	for _, id := range ids {
		if id != "" {
			return id
		}
	}
	return ""
}

func engineRoot(d event.EngineStartedData) Root {
	switch d.Mode {
	case event.ModeReboot:
		return RootReboot
	case event.ModeFirst, event.ModeRestart:
		return RootAutostart
	}
	return RootSupd
}

func stopRoot(reason string) Root {
	switch reason {
	case event.ReasonStartTimeout:
		return RootStartTimeout
	case event.ReasonWatchdog:
		return RootWatchdog
	case event.ReasonHealth:
		return RootHealth
	case event.ReasonDependency:
		return RootDependency
	case event.ReasonConfig:
		return RootConfig
	case event.ReasonShutdown:
		return RootShutdown
	case event.ReasonHook:
		return RootHook
	}
	return RootUnknown
}

func fatalRoot(reason string) Root {
	switch reason {
	case event.ReasonExec:
		return RootExec
	case event.ReasonRequirement:
		return RootDependency
	case event.ReasonStartTimeout:
		return RootStartTimeout
	}
	return RootUnknown
}

// flavour says more of a chain that ends with somebody or with supd: what was
// wanted of the way there.
func flavour(root Root, last event.Record, passed map[event.Kind]string) Root {
	_, configured := passed[event.ConfigApplied]
	_, stopping := passed[event.SupdStopping]
	switch {
	case root == RootExec && passed[event.RestartScheduled] == reasonShortage:
		return RootShortage
	case stopping:
		return RootShutdown
	case configured && passed[event.ServiceWanted] == event.ReasonAutostart:
		return RootAutostart
	case configured:
		return RootConfig
	case last.Kind == event.ServiceWanted && passed[event.ServiceWanted] == event.ReasonAutostart:
		return RootAutostart
	}
	return root
}

// reasonOf is the reason that a record gives, if it gives one.
func reasonOf(d event.Data) string {
	switch d := d.(type) {
	case event.ServiceWantedData:
		return d.Reason
	case event.InstanceStoppingData:
		return d.Reason
	case event.ServiceFatalData:
		return d.Reason
	case event.RestartScheduledData:
		if d.Shortage {
			return reasonShortage
		}
	}
	return ""
}

// reasonShortage stands for a start that was put off for want of resources.
const reasonShortage = "shortage"

// because is a record as a part of an explanation.
func because(r event.Record) string {
	switch d := r.Data.(type) {
	case event.CommandAcceptedData:
		from := ""
		if c := d.Client; c != nil {
			from = fmt.Sprintf(" from %s[%d]", c.Comm, c.PID)
		}
		return fmt.Sprintf("%s asked%s: %s %s", r.Actor, from, d.Verb, names(d.Targets))
	case event.InstanceStartingData:
		return fmt.Sprintf("run %d was started, pid %d, by reason of %s", d.Run, d.PID, d.Reason)
	case event.InstanceExitedData:
		text := "it ended: " + exited(d)
		if d.Cause == event.CauseUnknown {
			text = "it ended while nobody watched, up " + span(d.Uptime)
		}
		return text
	case event.InstanceExecFailedData:
		return fmt.Sprintf("it could not be executed: %s%s: %s", d.Step, spacedBefore(d.Path), d.Error)
	case event.InstanceStoppingData:
		return stopText(d)
	case event.RestartScheduledData:
		return scheduled(d)
	case event.ServiceFatalData:
		return "supd gave up: " + Text(r)
	case event.ServiceWantedData:
		return "it was wanted " + Text(r)
	case event.ServiceWaitingData:
		return "it waits " + Text(r) + colon(d.Failed)
	case event.EngineStartedData:
		return engineText(d)
	case event.SupdStoppingData:
		return "supd was told to end: " + Text(r)
	case event.ConfigAppliedData:
		return "a configuration was applied: " + Text(r)
	case event.HealthChangedData:
		return "its health went from " + Text(r)
	case event.HookEndedData:
		return "its hook failed: " + Text(r)
	case event.InstanceSignaledData:
		return fmt.Sprintf("%s was sent to it: %s", d.Signal, d.Result)
	}
	return strings.TrimSpace(string(r.Kind) + " " + Text(r))
}

// stopText says why an instance was told to end. For a time that ran out there
// is no record before it that would say more.
func stopText(d event.InstanceStoppingData) string {
	switch d.Reason {
	case event.ReasonStartTimeout:
		return fmt.Sprintf("it was not ready in time, and was told to end with %s (start-timeout)", d.Signal)
	case event.ReasonWatchdog:
		return fmt.Sprintf("it was silent for longer than its watchdog allows, and was told to end with %s", d.Signal)
	}
	return fmt.Sprintf("it was told to end with %s, by reason of %s", d.Signal, d.Reason)
}

// scheduled is the decision to restart with the numbers that it was made of.
func scheduled(d event.RestartScheduledData) string {
	if d.Shortage {
		return fmt.Sprintf("the start was put off for %s, for want of resources: that is no retry", span(d.Delay))
	}
	b := d.Policy.Backoff
	most := "without a limit"
	if d.Policy.MaxRetries >= 0 {
		most = fmt.Sprintf("of at most %d", d.Policy.MaxRetries)
	}
	return fmt.Sprintf("a restart was decided after %s: retry %d %s, delay %s (restart %s; %s × %g, at most %s, jitter %.2f)",
		exit(d.Exit.Code, d.Exit.Signal), d.Retry, most, span(d.Delay), d.Policy.Restart, span(b.Initial), b.Factor, span(b.Max), d.Jitter)
}

func engineText(d event.EngineStartedData) string {
	switch d.Mode {
	case event.ModeReboot:
		return "the machine was started anew"
	case event.ModeCrash:
		return "supd's engine had died and was started anew"
	case event.ModeKeeperLost:
		return "supd's keeper had died"
	case event.ModeAllLost:
		return "all of supd had died"
	case event.ModeSafe:
		return "supd's engine had died again and again"
	}
	return "supd was started (" + d.Mode + ")"
}
