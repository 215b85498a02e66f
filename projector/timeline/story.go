package timeline

import (
	"fmt"
	"strings"

	"supd/journal/event"
	"supd/projector"
)

// Story takes records in their order and explains one service: why it is as
// it is, why an instance of it ended, how it died the last times. Causes may
// be records about other services and about supd, so it is told of all; it
// forgets what no explanation can lead to any more, and so stays small however
// long the journal is. It is not for concurrent use.
type Story struct {
	service string
	only    string // instance id, the beginning of one, or a run number; empty: the present

	records   map[string]*told // by id
	commands  map[string]string
	open      map[string]bool // ids of command.accepted that have not ended
	traces    map[string]*trace
	latest    map[place]string // newest record of a kind about a service
	heads     map[string]string
	specs     map[string]event.Spec // of services, as far as they are told
	recent    []string
	kept      int // records after the last forgetting
	engine    string
	chosen    string // the instance that is asked for
	death     string // its end
	deaths    []Death
	first     event.Seq
	described bool // any record about the service was seen
	recalled  bool // a base was read
	base      strings.Builder
}

// told is a record, and what led to it where its own cause does not say.
type told struct {
	record event.Record
	before string
	text   string // replaces because, where other records know more
}

type place struct {
	service string
	kind    event.Kind
}

// trace is what is known of one instance, as ids of records.
type trace struct {
	starting, failed, signaled, settled, health, hook string

	running  bool
	extended bool         // it asked for more time to start
	stop     *told        // the newest order to end
	deadline event.Moment // of that order
}

// Bounds of a story's memory.
const (
	// MaxDeaths is how many ends of a service are remembered.
	MaxDeaths = projector.MaxDeaths
	recently  = 4096  // records that whatever comes next may name as its cause
	forgetAt  = 16384 // records more than were kept the last time
)

// NewStory begins the story of a service. Instance is empty, an id, the
// beginning of one (8 characters or more), or a run number.
func NewStory(service, instance string) *Story {
	return &Story{
		service: service, only: instance, records: map[string]*told{}, commands: map[string]string{}, open: map[string]bool{},
		traces: map[string]*trace{}, latest: map[place]string{}, heads: map[string]string{}, specs: map[string]event.Spec{},
	}
}

// Add takes the next record.
func (s *Story) Add(r event.Record) {
	if s.first == 0 {
		s.first = r.Seq
	}
	s.described = s.described || r.Subject == s.service
	if d, ok := r.Data.(event.StateBaseData); ok {
		s.recall(r, d)
	}
	if !tells(r.Kind) {
		return
	}
	n := &told{record: r}
	s.records[r.ID] = n
	s.latest[place{r.Subject, r.Kind}] = r.ID
	s.recent = append(s.recent, r.ID)
	s.link(n)
	if decides(r) {
		s.heads[r.Subject] = r.ID
	}
	if r.Subject == s.service {
		s.tally(r)
	}
	if len(s.records) > 2*s.kept+forgetAt {
		s.forget()
	}
}

// tells leaves out the kinds that no explanation needs.
func tells(k event.Kind) bool {
	switch k {
	case event.StateBase, event.CommandRejected, event.AccessDenied, event.ConfigRejected, event.LoggerStarted,
		event.JournalDegraded, event.JournalHealed, event.JournalCheckpoint:
		return false
	}
	return k.Group() != "output" && k.Group() != "resource"
}

// decides tells whether a record decides what its service is doing.
func decides(r event.Record) bool {
	switch r.Kind {
	case event.ServiceWanted, event.ServiceFatal, event.ServiceWaiting, event.ServiceRemoved, event.InstanceStarting, event.InstanceStopping,
		event.InstanceExited, event.InstanceExecFailed, event.InstanceStuck, event.RestartScheduled, event.RestartCancelled:
		return r.Subject != ""
	}
	return false
}

// link notes what later records are explained by.
func (s *Story) link(n *told) {
	r := n.record
	switch d := r.Data.(type) {
	case event.ServiceDefinedData:
		s.specs[r.Subject] = d.Spec
	case event.ServiceRemovedData:
		delete(s.specs, r.Subject)
	case event.EngineStartedData:
		s.engine = r.ID
	case event.KeeperStartedData:
		n.before = s.engine
	case event.CommandAcceptedData:
		s.commands[d.Command], s.open[r.ID] = r.ID, true
	case event.CommandEndedData:
		delete(s.open, s.commands[d.Command])
	case event.RecoverySettledData:
		n.before = s.engine
		s.trace(d.Instance).settled = r.ID
	case event.InstanceStartingData:
		s.trace(d.Instance).starting = r.ID
		s.choose(r, d)
	case event.InstanceRunningData:
		s.trace(d.Instance).running = true
	case event.InstanceExtendedData:
		s.trace(d.Instance).extend(d)
	case event.InstanceExecFailedData:
		s.trace(d.Instance).failed = r.ID
	case event.HealthChangedData:
		s.trace(d.Instance).health = r.ID
	case event.HookEndedData:
		if d.Error != "" {
			s.trace(d.Instance).hook = r.ID
		}
	case event.InstanceSignaledData:
		if c, ok := s.find(r.Cause); ok {
			if a, ok := c.record.Data.(event.CommandAcceptedData); ok && (a.Verb == event.VerbSignal || a.Verb == event.VerbReload) {
				s.trace(d.Instance).signaled = r.ID
			}
		}
	case event.InstanceStoppingData:
		s.ordered(n, d)
	case event.InstanceExitedData:
		n.before, n.text = s.ended(d), s.outlasted(r, d)
		if d.Instance == s.chosen {
			s.death = r.ID
		}
	}
}

// ended finds what an exit that nobody asked for is explained by.
func (s *Story) ended(d event.InstanceExitedData) string {
	t := s.traces[d.Instance]
	if t == nil {
		return ""
	}
	if t.failed != "" {
		return t.failed
	}
	if by, ok := s.find(t.signaled); ok && d.Signal != nil && by.record.Data.(event.InstanceSignaledData).Signal == *d.Signal {
		return t.signaled
	}
	if d.Cause == event.CauseUnknown {
		return t.settled
	}
	return ""
}

// choose finds the instance that is asked for.
func (s *Story) choose(r event.Record, d event.InstanceStartingData) {
	if r.Subject != s.service || s.only == "" {
		return
	}
	if fmt.Sprint(d.Run) == s.only || d.Instance == s.only || len(s.only) >= 8 && strings.HasPrefix(d.Instance, s.only) {
		s.chosen, s.death = d.Instance, ""
	}
}

func (s *Story) trace(instance string) *trace {
	t := s.traces[instance]
	if t == nil {
		t = &trace{}
		s.traces[instance] = t
	}
	return t
}

// find finds a record by its id, or by that of the command that it accepted.
func (s *Story) find(id string) (*told, bool) {
	if n, ok := s.records[id]; ok {
		return n, true
	}
	n, ok := s.records[s.commands[id]]
	return n, ok
}

// forget drops what nothing leads to: it keeps the newest record of each kind
// for each service, open commands, instances that have not ended, what came
// lately, and the causes of all of these.
func (s *Story) forget() {
	keep := make(map[string]*told, s.kept+recently)
	var mark func(id string)
	mark = func(id string) {
		for n, ok := s.find(id); ok && keep[n.record.ID] == nil; n, ok = s.find(id) {
			keep[n.record.ID] = n
			if n.before != "" {
				mark(n.before)
			}
			id = n.record.Cause
		}
	}
	for _, id := range s.latest {
		mark(id)
	}
	for id := range s.open {
		mark(id)
	}
	s.recent = append([]string(nil), s.recent[max(0, len(s.recent)-recently):]...)
	for _, id := range s.recent {
		mark(id)
	}
	mark(s.death)
	for instance, t := range s.traces {
		if n := keep[t.starting]; n == nil && instance != s.chosen {
			delete(s.traces, instance)
			continue
		}
		for _, id := range []string{t.starting, t.failed, t.signaled, t.settled, t.health, t.hook} {
			mark(id)
		}
	}
	for command, id := range s.commands {
		if keep[id] == nil {
			delete(s.commands, command)
		}
	}
	s.records, s.kept = keep, len(keep)
}
