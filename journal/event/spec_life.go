package event

import (
	"encoding/json"
	"slices"
	"time"
)

// Values of Spec.Type. A simple service runs until somebody ends it; a oneshot
// does its work once and is completed when it exits with success.
const (
	TypeSimple  = "simple"
	TypeOneshot = "oneshot"
)

// Defaults and bounds of a service's life.
const (
	DefaultStartTimeout = 90 * time.Second // Spec.StartTimeout
	DefaultReadyTimeout = 60 * time.Second // Ready.Timeout
	HookTimeout         = 30 * time.Second // of each hook; what is left of it is then killed
)

// Conditions of a Dependency.
const (
	ConditionStarted   = "started"   // its program was executed
	ConditionReady     = "ready"     // it said, or was seen to be, ready
	ConditionCompleted = "completed" // a oneshot: it ended with success
)

// Dependency is another service and what has to hold of it. Name may be a
// replicated service's base name: then it has to hold of each replica. An
// empty condition is the target's own: completed for a oneshot, ready if it
// has `ready`, else started.
type Dependency struct {
	Name      string `json:"name"`
	Condition string `json:"condition,omitempty"` // started, ready, completed
}

// Probe is a way to ask a service how it is; one field is set.
type Probe struct {
	TCP  string   `json:"tcp,omitempty"`  // host:port that must accept a connection
	HTTP string   `json:"http,omitempty"` // URL that must answer 2xx or 3xx
	Exec []string `json:"exec,omitempty"` // command as written that must exit with 0; Launch holds it resolved
}

// Kind names the probe for records: tcp, http, exec; empty if there is none.
func (p Probe) Kind() string {
	switch {
	case p.TCP != "":
		return "tcp"
	case p.HTTP != "":
		return "http"
	case len(p.Exec) > 0:
		return "exec"
	}
	return ""
}

// Ready says how a service tells, or shows, that it is ready. One way is set.
type Ready struct {
	Notify  bool     `json:"notify,omitempty"` // READY=1 on NOTIFY_SOCKET
	FD      *int     `json:"fd,omitempty"`     // a newline on this descriptor
	Log     string   `json:"log,omitempty"`    // regular expression that a line of its output matches
	Timeout Duration `json:"timeout"`          // since its program was executed
	Probe
}

// By names the way for records: notify, fd, log, tcp, http, exec.
func (r Ready) By() string {
	switch {
	case r.Notify:
		return "notify"
	case r.FD != nil:
		return "fd"
	case r.Log != "":
		return "log"
	}
	return r.Probe.Kind()
}

// Values of Health.Action.
const (
	HealthRestart = "restart"
	HealthNone    = "none"
)

// Health says how a running service is watched. Counting is the prober's; the
// journal hears of changes only.
type Health struct {
	Probe
	Interval  Duration `json:"interval"`
	Timeout   Duration `json:"timeout"`   // of one probe
	Failures  int      `json:"failures"`  // in a row until it is unhealthy
	Successes int      `json:"successes"` // in a row until it is healthy
	Action    string   `json:"action"`    // restart, none: what follows unhealthy
}

// Hooks are commands that are run around a service's life, as it is its user
// and in its directory, each for at most HookTimeout; nil: none. Like
// Spec.Command they are as written, one element where the configuration gave a
// string; Launch holds them resolved.
type Hooks struct {
	PreStart  []string `json:"pre_start,omitempty" change:"R"`  // before its program is executed
	PostStart []string `json:"post_start,omitempty" change:"R"` // when it is ready
	PreStop   []string `json:"pre_stop,omitempty" change:"R"`   // before the signal of a stop
	PostStop  []string `json:"post_stop,omitempty" change:"R"`  // when its tree is gone
}

// Names of hooks.
const (
	HookPreStart  = "pre_start"
	HookPostStart = "post_start"
	HookPreStop   = "pre_stop"
	HookPostStop  = "post_stop"
)

// Command returns the words of the hook with this name; nil if there is none.
func (h Hooks) Command(hook string) []string {
	switch hook {
	case HookPreStart:
		return h.PreStart
	case HookPostStart:
		return h.PostStart
	case HookPreStop:
		return h.PreStop
	case HookPostStop:
		return h.PostStop
	}
	return nil
}

// CgroupLimits are enforced by controllers of the instance's cgroup; nil: no
// limit of its own.
type CgroupLimits struct {
	Memory   *int64   `json:"memory,omitempty" change:"R"`    // bytes
	CPUQuota *float64 `json:"cpu_quota,omitempty" change:"R"` // cores
	PIDs     *int64   `json:"pids,omitempty" change:"R"`      // processes and threads
}

// normal writes what is left out as its default. A specification that an
// older supd stored lacks the newer fields; it must be the same one that a
// configuration without these keys gives today, or an upgrade would restart
// services (P7).
func (s Spec) normal() Spec {
	if s.Type == "" {
		s.Type = TypeSimple
	}
	if s.StartTimeout == 0 {
		s.StartTimeout = Duration(DefaultStartTimeout)
	}
	return s
}

type plainSpec Spec

// MarshalJSON leaves defaults out of the fields that older versions did not
// have: so a specification keeps its digest when supd is upgraded.
func (s Spec) MarshalJSON() ([]byte, error) {
	if s.Type == TypeSimple {
		s.Type = ""
	}
	if s.StartTimeout == Duration(DefaultStartTimeout) {
		s.StartTimeout = 0
	}
	return Marshal(plainSpec(s))
}

// UnmarshalJSON reads specifications of this and of all older versions.
func (s *Spec) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, (*plainSpec)(s)); err != nil {
		return err
	}
	*s = s.normal()
	return nil
}

// Oneshot tells that the service's work is done once.
func (s Spec) Oneshot() bool { return s.Type == TypeOneshot }

// DependsOn lists what the service waits for: after, requires and wants, each
// name once, the first condition that is given for it.
func (s Spec) DependsOn() []Dependency {
	var all []Dependency
	for _, list := range [][]Dependency{s.Requires, s.Wants, s.After} {
		for _, d := range list {
			at := slices.IndexFunc(all, func(have Dependency) bool { return have.Name == d.Name })
			switch {
			case at < 0:
				all = append(all, d)
			case all[at].Condition == "":
				all[at].Condition = d.Condition
			}
		}
	}
	return all
}
