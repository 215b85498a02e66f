package event

import (
	"encoding/json"
	"time"
)

// Verb is what a command asks for.
type Verb string

// The verbs of commands in this version.
const (
	VerbStart    Verb = "start"
	VerbStop     Verb = "stop"
	VerbRestart  Verb = "restart"
	VerbSignal   Verb = "signal"
	VerbReload   Verb = "reload" // sends reload.signal
	VerbApply    Verb = "apply"  // of the configuration; takes no services
	VerbShutdown Verb = "shutdown"
	VerbScale    Verb = "scale" // sets counts of replicas: patterns are base names, Args[base] the count
	// VerbUpgrade replaces supd by the program that ArgBinary names; takes no services.
	VerbUpgrade Verb = "upgrade"
)

// Names of arguments in CommandRequest.Args.
const (
	ArgSignal       = "signal"
	ArgBinary       = "binary" // of upgrade: an absolute path; empty is where the running program came from
	ArgKeepServices = "keep_services"
	ArgForce        = "force"   // "true", of shutdown: KILL at once, as a second TERM does
	ArgRolling      = "rolling" // "true": restart one target after the other, each when the one before is ready
)

// MaxRequestSize bounds one request in bytes, MaxPatterns its targets.
const (
	MaxRequestSize = 256 << 10
	MaxPatterns    = 4096
)

// CommandRequest is what a client publishes to ask for an effect. ID is a
// UUIDv7 that makes it idempotent: the same id is one command for ever (P2).
type CommandRequest struct {
	ID       string            `json:"id"`
	Verb     Verb              `json:"verb"`
	Patterns []string          `json:"patterns"` // names, globs, replicas by base name, "all"
	Args     map[string]string `json:"args,omitempty"`
	SentAt   time.Time         `json:"sent_at"`
	NoWait   bool              `json:"no_wait,omitempty"` // the caller wants only the acceptance
}

// Statuses of a CommandReply.
const (
	ReplyAccepted = "accepted" // the command is in the journal; its end follows unless no_wait
	ReplyEnded    = "ended"
	ReplyRejected = "rejected"
	ReplyBusy     = "busy"
)

// CommandReply answers a CommandRequest: first accepted, then ended; or one
// of rejected and busy alone.
type CommandReply struct {
	Status   string   `json:"status"`
	Command  string   `json:"command,omitempty"`
	Seq      Seq      `json:"seq,omitempty"`     // of the record this reply tells of
	Durable  bool     `json:"durable"`           // false: kept, not yet durable (R1)
	Outcome  Outcome  `json:"outcome,omitempty"` // of ended
	Results  []Result `json:"results,omitempty"`
	Duration Duration `json:"duration"`
	Reason   string   `json:"reason,omitempty"` // of rejected
	Detail   string   `json:"detail,omitempty"`
}

// The verbs of questions in this version.
const (
	AskStatus = "status" // StatusRequest → []ServiceStatus
	AskInfo   = "info"   // nothing → Info
	AskDump   = "dump"   // nothing → Dump
	AskResult = "result" // ResultRequest → CommandReply
	AskLogs   = "logs"   // LogsRequest → LogsReply
	AskPlan   = "plan"   // nothing → Plan
	AskGraph  = "graph"  // StatusRequest → services, each behind what it needs
)

// StatusRequest asks for services by patterns; none means all.
type StatusRequest struct {
	Patterns []string `json:"patterns,omitempty"`
	Waits    bool     `json:"waits,omitempty"` // give StatusReply.Waits too
}

// ServiceStatus is one service as people see it. Absent is null, never 0.
type ServiceStatus struct {
	Name      string     `json:"name"`
	Want      Want       `json:"want"`
	State     Phase      `json:"state"`
	PID       *int       `json:"pid"`
	Instance  *string    `json:"instance"`
	Run       *Run       `json:"run"`
	StartedAt *time.Time `json:"started_at"`
	Restarts  int        `json:"restarts"` // restarts that supd decided, since the service was defined
	Retries   int        `json:"retries"`  // consecutive unstable exits
	NextStart *time.Time `json:"next_start"`
	Ready     *bool      `json:"ready"`
	Reason    *string    `json:"reason"`  // why it is in this state, where that is not plain
	Pending   *string    `json:"pending"` // id of the command that has not ended for it
	LastExit  *LastExit  `json:"last_exit"`
}

// LastExit is the end of the last instance.
type LastExit struct {
	Code   *int      `json:"code"`
	Signal *string   `json:"signal"`
	At     time.Time `json:"at"`
	Cause  string    `json:"cause"`
}

// StatusReply carries the services, sorted by name, and the patterns that
// matched none.
type StatusReply struct {
	Services []ServiceStatus `json:"services"`
	Unknown  []string        `json:"unknown"`
	Near     string          `json:"near,omitempty"`  // the service that the first unknown pattern may have meant
	Waits    []ServiceWait   `json:"waits,omitempty"` // sorted by name; only those that are busy with what takes time
}

// ServiceWait is a service that is stopping or waits to start: since when,
// and when at the latest that will have an end.
type ServiceWait struct {
	Service string     `json:"service"`
	Since   *time.Time `json:"since"`
	Until   *time.Time `json:"until"`
}

// ResultRequest asks for the outcome of a command by id.
type ResultRequest struct {
	Command string `json:"command"`
}

// Dump is the canonical state at a record.
type Dump struct {
	Seq   Seq             `json:"seq"`
	Hash  string          `json:"hash"`
	State json.RawMessage `json:"state"`
}

// Info says what a running supd is and what it could obtain.
type Info struct {
	Node    string            `json:"node"`
	NodeID  string            `json:"node_id"`
	Version string            `json:"version"`
	Boot    string            `json:"boot"`
	Actor   string            `json:"actor"` // who asked, as supd sees it
	PIDs    InfoPIDs          `json:"pids"`
	RunLog  InfoRunLog        `json:"run_log"`
	Journal InfoJournal       `json:"journal"`
	Output  InfoOutput        `json:"output"`
	Kernel  map[string]string `json:"kernel"` // features in use, and what is weaker without
	Listen  *InfoListen       `json:"listen"` // null: not on the network
	Started time.Time         `json:"started"`
	Mode    string            `json:"mode"`
}

// InfoPIDs are live process ids.
type InfoPIDs struct {
	Keeper int `json:"keeper"`
	Engine int `json:"engine"`
	Logger int `json:"logger"`
}

// InfoListen is the listener on the network.
type InfoListen struct {
	Address string `json:"address"`
	Health  string `json:"health"` // ok, or why it is not open
}

// InfoRunLog is the kept grade.
type InfoRunLog struct {
	Bytes          int64  `json:"bytes"`
	Size           int64  `json:"size"`
	KeptNotDurable int    `json:"kept_not_durable"`
	Place          string `json:"place"`
}

// InfoJournal is the durable grade.
type InfoJournal struct {
	First  Seq    `json:"first"`
	Last   Seq    `json:"last"`
	Bytes  int64  `json:"bytes"`
	Health string `json:"health"` // ok, opening, degraded: why, off: why
}

// InfoOutput is what services' output takes on disk.
type InfoOutput struct {
	Bytes     int64  `json:"bytes"`
	Directory string `json:"directory"`
}

// LogsRequest asks for one piece of a service's output. Following is asking
// again with the cursor, so it survives the death of an engine.
type LogsRequest struct {
	Service  string     `json:"service"`
	Stream   string     `json:"stream,omitempty"`   // stdout, stderr; empty: both
	Tail     int        `json:"tail"`               // lines; -1: all; only without cursor
	Since    *time.Time `json:"since,omitempty"`    // only without cursor
	Instance string     `json:"instance,omitempty"` // id, run number, or -1 for the last but one
	Cursor   string     `json:"cursor,omitempty"`
	Wait     Duration   `json:"wait,omitempty"` // how long to wait for more, at most 30 s
}

// LogLine is one line of output, or a piece of a very long one.
type LogLine struct {
	Time     time.Time `json:"time"`
	Stream   string    `json:"stream"`
	Instance string    `json:"instance,omitempty"`
	Partial  bool      `json:"partial,omitempty"` // no line end behind it (yet)
	Data     []byte    `json:"data"`              // raw bytes, without the line end
}

// LogsReply is one piece of output and where to go on.
type LogsReply struct {
	Lines  []LogLine `json:"lines"`
	Cursor string    `json:"cursor"`
	End    bool      `json:"end"` // nothing more for now
}

// Actions of a Plan, for services and for settings of supd itself.
const (
	PlanStart   = "start"   // new, and started
	PlanAdd     = "add"     // new, and not started: autostart is off
	PlanStop    = "stop"    // no longer there: stopped, then forgotten
	PlanRemove  = "remove"  // no longer there, and nothing of it runs
	PlanRestart = "restart" // of a service: stopped and started; of a setting: needs a restart of supd
	PlanUpdate  = "update"  // takes effect live, or with the next start by itself
	PlanStay    = "stay"    // not touched
)

// Plan says what applying the configuration would do. With an error among
// the problems there is nothing else in it.
type Plan struct {
	Problems []ConfigProblem  `json:"problems"`
	Services []PlannedService `json:"services"` // sorted by name; all of them
	Settings []PlannedSetting `json:"settings"` // of supd itself that change, in the order of the reference
}

// ConfigProblem is a fault in a configuration, or a warning.
type ConfigProblem struct {
	ConfigError
	Hint    string `json:"hint,omitempty"`
	Warning bool   `json:"warning,omitempty"` // it can be applied all the same
}

// PlannedService is what becomes of one service.
type PlannedService struct {
	Service string   `json:"service"`
	Action  string   `json:"action"`         // start, add, stop, remove, restart, update, stay
	Keys    []string `json:"keys,omitempty"` // that changed, sorted
}

// PlannedSetting is a changed setting of supd itself.
type PlannedSetting struct {
	Key    string `json:"key"`
	Action string `json:"action"` // update, restart
}

// AskError is the answer to a question that could not be answered.
type AskError struct {
	Code   string `json:"code"` // unknown-service, unknown-command, malformed, busy, failed
	Detail string `json:"detail"`
}
