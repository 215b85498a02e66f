package policy

import (
	"time"

	"supd/journal/event"
)

// Input is one thing that happened. Inputs are facts; what follows from them
// is decided here.
type Input interface{ input() }

// Command asks for an effect. Patterns are resolved here, against the state.
type Command struct {
	Request event.CommandRequest
	Actor   string
	Client  *event.Client
	Remote  string // address of a client on the network
	Full    bool   // the inbox holds as many open commands as it may

	// An apply brings the configuration, read and stored before the command is
	// decided (R11), or what is wrong with it. So acceptance, config.applied and
	// what follows are one batch, and no crash comes between them.
	Configure *Configure
	Errors    []event.ConfigError

	// An upgrade brings what was found out about the program.
	Upgrade *Upgrading
}

// Upgrading is a program that may take this one's place. Refused says why not.
type Upgrading struct{ From, To, Refused string }

// Upgraded tells how the upgrade of a command ended: Error is empty if it worked.
type Upgraded struct{ Command, Error string }

// Rejected is a request that never was a command.
type Rejected struct {
	Actor, Reason, Detail string
	Command               *string
	Count                 int
}

// Denied is an attempt on a subject that the actor may not use.
type Denied struct {
	Actor, Subject string
	Count          int
}

// Configure applies a configuration that was read and stored (R11). Services
// are sorted by name.
type Configure struct {
	Actor    string
	Digest   string
	Files    []event.ConfigFile
	Services []Definition
	// Own tells that settings of supd itself are others than those applied.
	Own   bool
	Scale map[string]int    // counts that commands have set, by base name: all of them
	Start *event.StartLimit // of automatic restarts; nil: none
	// Wanted are services that are to be up now, whatever they were before.
	Wanted []string
}

// Definition is one service of a configuration.
type Definition struct {
	Name string
	Spec event.Spec
}

// ConfigRefused says that a configuration was read and is wrong.
type ConfigRefused struct {
	Actor  string
	Errors []event.ConfigError
}

// Parked is a stub that waits at its gate. It is not an instance (R3).
type Parked struct {
	Service, Instance string
	PID               int
	StartTime         uint64
	Cgroup            string
	SpecDigest        string // of the specification the stub was given; the core knows it
}

// ParkFailed says that no stub got as far as its gate: there is no instance,
// and no exit follows.
type ParkFailed ExecFailed

// ParkEnded says that a stub was let go.
type ParkEnded struct{ Service, Instance string }

// Executed says that the stub has become the service's program.
type Executed struct{ Service, Instance string }

// ExecFailed says that the stub could not; its exit follows.
type ExecFailed struct {
	Service, Instance, Step, Path, Error string
	Errno                                int
}

// Exited is the proven death of a main process (R4). Leftovers tells that
// members of its tree are alive. Unknown: the kernel could not tell how.
type Exited struct {
	Service, Instance string
	Unknown           bool
	Code              int
	Signal            string // empty: it exited
	Core, OOM         bool
	CPU               time.Duration
	MaxRSS            int64
	Leftovers         bool
	Left              int             // how many, where they are counted
	LeftNames         []event.Process // of the first event.MaxLeft of them
}

// Signaled is the result of a named signal operation.
type Signaled struct {
	Service, Instance, Operation, Signal, Scope, Result string
	PIDs                                                []int
	Errno                                               int
}

// TreeEmpty says that the tree of an ended instance has emptied by itself.
type TreeEmpty struct{ Service, Instance string }

// Swept is the result of ending a tree, under an operation's name.
type Swept struct {
	Service, Instance, Operation, Method string
	Killed                               []event.Process
	Survived                             int
	Left                                 []event.Process // of the survivors, the first event.MaxLeft
	Took                                 time.Duration
}

// Adopted says that the keeper holds an instance again that it did not start.
type Adopted struct {
	Service, Instance, By, Output string
	PID                           int
	StartTime                     uint64
}

// Followed says that another process of the instance's tree is its main one from
// now on, because the service said so (MAINPID).
type Followed struct {
	Service, Instance string
	PID               int
	StartTime         uint64
}

// Ended says that a stranger was ended before anything was started: the journal
// has lost what authorised it. Service is what it called itself.
type Ended struct{ Service, Instance, Found string }

// Lost says that an instance the state believed alive is gone, and nobody
// saw its end. Exited is how it ended if the kernel kept that, else nil.
type Lost struct {
	Service, Instance string
	Leftovers         bool
	Exited            *Exited
}

// Forgotten says that the keeper has no instance of this id.
type Forgotten struct{ Service, Instance string }

// Ready says that an instance is ready, by the way of its `ready` or because it
// said so itself. By is notify, fd, log, tcp, http or exec.
type Ready struct{ Service, Instance, By string }

// Reloading says that an instance reads its own configuration again, because
// it said so.
type Reloading struct{ Service, Instance string }

// Extended says that an instance needs more time to get ready or to end, at
// least For from now on.
type Extended struct {
	Service, Instance string
	For               time.Duration
}

// Health says that the health of an instance passed a threshold. Who probes
// counts; equal states are no news.
type Health struct {
	Service, Instance string
	Probe             string // tcp, http, exec
	From, To          string // unknown, healthy, unhealthy
	Failures          int    // in a row
	Error             string // of the last one
}

// WatchdogMissed says that an instance was silent for longer than its
// `watchdog` allows.
type WatchdogMissed struct{ Service, Instance string }

// HookEnded is the result of a hook, under its operation's name. Unknown: the
// keeper that ran it is gone. Error says why it was never executed, or that
// its time was up.
type HookEnded struct {
	Service, Instance, Hook, Operation string
	Unknown                            bool
	Executed                           bool // it came to an exit, which Code and Signal tell
	Code                               int
	Signal                             string // empty: it exited
	Took                               time.Duration
	Error                              string
}

// Tick says that time has passed for a service: a deadline of it is due.
type Tick struct{ Service string }

// Shutdown asks supd to end in good order.
type Shutdown struct {
	Reason       string // signal, command, completed
	KeepServices bool
	Forced       bool // do not wait: KILL
}

// Started opens the life of an engine.
type Started struct {
	// Heard is CLOCK_BOOTTIME of the last record before this engine, 0 if that is
	// not known.
	Heard int64
	// Upgrade is the command whose upgrade made the keeper what it is; often empty.
	Upgrade string
	Engine  event.EngineStartedData
	Keeper  event.KeeperStartedData
	Logger  *event.LoggerStartedData
}

// LoggerStarted says that a logger drains output now.
type LoggerStarted struct{ Logger event.LoggerStartedData }

// Settle compares what the state believes with what the keeper found, and with
// the results of signals and hooks that no engine has heard yet.
type Settle struct {
	Found    []Found
	Signaled []Signaled
	Hooks    []HookEnded
}

// Note is a record that something else decided: output gaps, journal health.
type Note struct {
	Subject string
	Data    event.Data
}

// Base asks for the state to be written into the journal, in parts of at most so
// many bytes of text; 0: projector.MaxBasePart.
type Base struct{ Part int }

func (Command) input()        {}
func (Upgraded) input()       {}
func (Rejected) input()       {}
func (Denied) input()         {}
func (Configure) input()      {}
func (ConfigRefused) input()  {}
func (Parked) input()         {}
func (ParkFailed) input()     {}
func (Executed) input()       {}
func (ExecFailed) input()     {}
func (Exited) input()         {}
func (Signaled) input()       {}
func (TreeEmpty) input()      {}
func (Swept) input()          {}
func (Adopted) input()        {}
func (Followed) input()       {}
func (Lost) input()           {}
func (Ended) input()          {}
func (ParkEnded) input()      {}
func (Forgotten) input()      {}
func (Ready) input()          {}
func (Reloading) input()      {}
func (Extended) input()       {}
func (Health) input()         {}
func (WatchdogMissed) input() {}
func (HookEnded) input()      {}
func (Tick) input()           {}
func (Shutdown) input()       {}
func (Started) input()        {}
func (LoggerStarted) input()  {}
func (Settle) input()         {}
func (Note) input()           {}
func (Base) input()           {}
