package projector

import (
	"time"

	"supd/journal/event"
)

// Version numbers the canonical form. A base of an older version is migrated
// when it is read, never guessed at; one of a newer version is refused.
const Version = 2

// Limits of the memory of ended commands (R8).
const (
	MaxEnded = 10_000
	EndedAge = 24 * time.Hour
)

// State is everything supd remembers. Its exported fields are read-only for
// everybody but Apply.
type State struct {
	Version  int                 `json:"version"`
	Supd     Supd                `json:"supd"`
	Config   Config              `json:"config"`
	Services map[string]*Service `json:"services"`
	Commands map[string]*Command `json:"commands"` // accepted and not ended
	Ended    []*Ended            `json:"ended"`    // oldest first
	Horizon  int64               `json:"horizon"`  // newest UUIDv7 time (ms) of a forgotten command: ids up to here are expired

	seq      event.Seq
	hash     string
	stale    bool               // records are missing: only a base can make the state true again
	parts    []string           // parts of a base that is being read
	ended    map[string]*Ended  // index of Ended
	resolved []string           // commands whose targets all have a result
	rolling  []string           // open commands that do one target after the other, oldest first
	deaths   map[string][]Death // for people; see Death
	graph    *event.Graph       // of the services as they are defined; nil: not computed yet
}

// Supd is what the state knows of supd's own processes.
type Supd struct {
	Boot     string    `json:"boot"`
	Engines  int       `json:"engines"` // engine.started records, for ever
	Since    event.Seq `json:"since"`   // of the newest of them
	Keeper   *Keeper   `json:"keeper"`
	Stopping *Stopping `json:"stopping"`
	Stopped  bool      `json:"stopped"` // the last end was orderly
	Degraded bool      `json:"degraded"`
	Bucket   *Bucket   `json:"bucket,omitempty"` // nil: full
}

// Keeper is the keeper of the last keeper.started. Configured tells whether a
// configuration was applied or rejected under it, so that an engine's restart
// never applies the keeper's start-up configuration again (R11).
type Keeper struct {
	PID        int    `json:"pid"`
	StartTime  uint64 `json:"start_time"`
	Configured bool   `json:"configured"`
}

// Stopping is an orderly end under way.
type Stopping struct {
	Reason       string `json:"reason"`
	KeepServices bool   `json:"keep_services"`
	Forced       bool   `json:"forced"`
	Record       string `json:"record"` // id, for causes
}

// Config is the applied configuration.
type Config struct {
	Digest string            `json:"digest"`
	Scale  map[string]int    `json:"scale,omitempty"` // counts that commands have set, by base name
	Start  *event.StartLimit `json:"start,omitempty"` // nil: automatic restarts are not limited
}

// Bucket holds the tokens of the start limiter as they were at a moment.
type Bucket struct {
	Tokens float64 `json:"tokens"`
	Mono   int64   `json:"mono"`
	Boot   string  `json:"boot"`
}

// Service is one service, or one replica.
type Service struct {
	Name       string       `json:"name"`
	Spec       event.Spec   `json:"spec"`
	Digest     string       `json:"digest"`
	Want       event.Want   `json:"want"`
	WantReason string       `json:"want_reason"`
	WantRecord string       `json:"want_record"` // id of the service.wanted, for causes
	Phase      event.Phase  `json:"phase"`
	Run        event.Run    `json:"run"` // of the newest instance
	Instance   *Instance    `json:"instance"`
	Tree       *Tree        `json:"tree"` // what an ended instance left behind, until swept
	Retries    int          `json:"retries"`
	Restarts   int          `json:"restarts"`
	NextStart  *NextStart   `json:"next_start"`
	LastExit   *LastExit    `json:"last_exit"`
	Fatal      string       `json:"fatal"`   // why supd gave up
	Failure    *ExecFailure `json:"failure"` // why no stub got as far as the gate, until one does
	Removed    bool         `json:"removed"`
	Pending    []string     `json:"pending"` // open commands without a result for this service, oldest first
	Definition event.Seq    `json:"definition"`
	FirstWant  bool         `json:"first_want,omitempty"` // it is to be wanted at once (autostart): only between two records of a batch
	Waiting    *Waiting     `json:"waiting,omitempty"`
	Hook       *Hook        `json:"hook,omitempty"`      // that is being run
	PostStop   bool         `json:"post_stop,omitempty"` // the hook is due: its tree is gone
	Completed  bool         `json:"completed,omitempty"` // a oneshot: its last run ended with success, and it was not wanted anew since
}

// Waiting is what keeps a wanted service from being started.
type Waiting struct {
	For     []event.WaitFor `json:"for"`
	Limiter bool            `json:"limiter"`
	Failed  string          `json:"failed"`
	Record  string          `json:"record"`
}

// Hook is a hook that was begun, or is about to be, and has not ended.
type Hook struct {
	Name      string       `json:"name"`
	Instance  string       `json:"instance"`
	Operation string       `json:"operation"`
	Deadline  event.Moment `json:"deadline"`
	Boot      string       `json:"boot"`
	Record    string       `json:"record"`
	Seq       event.Seq    `json:"seq"`             // of hook.started: it runs after it
	Doubt     bool         `json:"doubt,omitempty"` // the keeper that was to run it is gone
}

// Instance is a main process that is not known to be dead.
type Instance struct {
	ID         string        `json:"id"`
	Run        event.Run     `json:"run"`
	PID        int           `json:"pid"`
	StartTime  uint64        `json:"start_time"`
	Boot       string        `json:"boot"`
	Cgroup     string        `json:"cgroup"`
	SpecDigest string        `json:"spec_digest"`
	Record     string        `json:"record"` // id of instance.starting
	Seq        event.Seq     `json:"seq"`    // of instance.starting: its gate opens after it
	Started    event.Moment  `json:"started"`
	Running    *event.Moment `json:"running"`
	ExecFailed *ExecFailure  `json:"exec_failed"`
	Stop       *StopOrder    `json:"stop"`
	Stuck      bool          `json:"stuck"`
	Adopted    bool          `json:"adopted"` // by the current keeper, which is not its parent
	Reason     string        `json:"reason"`

	Awaits     bool          `json:"awaits,omitempty"`      // it is ready when it says so, not when it runs
	Ready      *event.Moment `json:"ready,omitempty"`       // of instance.ready
	Extended   *event.Moment `json:"extended,omitempty"`    // its start may take until then, by its own word
	Health     string        `json:"health,omitempty"`      // healthy, unhealthy; empty: not known yet
	PreStarted bool          `json:"pre_started,omitempty"` // pre_start ended with success: the gate may open
	PostStart  bool          `json:"post_start,omitempty"`  // post_start was begun
}

// IsReady tells that the instance runs and, where it has to say so, is ready.
func (i *Instance) IsReady() bool { return i.Running != nil && (!i.Awaits || i.Ready != nil) }

// ExecFailure says why an instance never ran its program.
type ExecFailure struct {
	Step  string `json:"step"`
	Errno int    `json:"errno"`
	Error string `json:"error"`
	Path  string `json:"path"`
}

// StopOrder is an instance.stopping that is being carried out.
type StopOrder struct {
	Signal   string        `json:"signal"`
	Deadline event.Moment  `json:"deadline"`
	Reason   string        `json:"reason"`
	Record   string        `json:"record"`
	Seq      event.Seq     `json:"seq"`
	Signaled bool          `json:"signaled"`
	Killed   *event.Moment `json:"killed"`             // when KILL was sent
	Hooked   bool          `json:"hooked,omitempty"`   // pre_stop comes before its signal
	PreStop  bool          `json:"pre_stop,omitempty"` // and has ended
}

// Tree is what is left of an ended instance's tree while it is being ended.
type Tree struct {
	Instance string    `json:"instance"`
	Cgroup   string    `json:"cgroup"`
	Boot     string    `json:"boot"`
	Stop     StopOrder `json:"stop"`
	Sweeps   int       `json:"sweeps"` // that left survivors
	Retry    int64     `json:"retry"`  // mono of the next sweep after one that did
	// Left are those that the last of them did not end, as many as its record names.
	Left []event.Process `json:"left,omitempty"`
}

// NextStart is a scheduled restart.
type NextStart struct {
	At     event.Moment   `json:"at"`
	Delay  event.Duration `json:"delay"`
	Boot   string         `json:"boot"`
	Record string         `json:"record"`
}

// LastExit is how the newest ended instance ended.
type LastExit struct {
	Instance string         `json:"instance"`
	Run      event.Run      `json:"run"`
	Boot     string         `json:"boot"`
	Cgroup   string         `json:"cgroup"`
	Code     *int           `json:"code"`
	Signal   *string        `json:"signal"`
	Cause    string         `json:"cause"`
	Expected bool           `json:"expected"`
	At       event.Moment   `json:"at"`
	Uptime   event.Duration `json:"uptime"`
	Ran      bool           `json:"ran"`             // its program was executed
	Ready    bool           `json:"ready,omitempty"` // and it was ready
	Exec     *ExecFailure   `json:"exec"`
	Stop     string         `json:"stop"` // reason of the stop order, empty if nobody asked
	Record   string         `json:"record"`
	// Unkilled is the record of a stop order whose KILL is not recorded: a tree
	// is killed by a worker, so the exit may be told before the signal's result.
	Unkilled string `json:"unkilled"`
	// Left: its tree lives, and what becomes of that follows in the same batch.
	Left bool `json:"left,omitempty"`
	// Background: its program looks as if it had gone into the background.
	Background bool `json:"background,omitempty"`
}

// Command is an accepted command that has not ended.
type Command struct {
	ID       string                  `json:"id"`
	Verb     event.Verb              `json:"verb"`
	Actor    string                  `json:"actor"`
	Content  string                  `json:"content"` // digest of what was asked by whom
	Args     map[string]string       `json:"args"`
	Record   string                  `json:"record"`
	Seq      event.Seq               `json:"seq"`
	Accepted event.Moment            `json:"accepted"`
	Boot     string                  `json:"boot"`
	Targets  []string                `json:"targets"`
	After    map[string]event.Run    `json:"after"` // for restart: done with a later run
	Results  map[string]event.Result `json:"results"`
}

// Ended is a command that has ended, kept so that its id has one outcome.
type Ended struct {
	ID       string         `json:"id"`
	Content  string         `json:"content"`
	Outcome  event.Outcome  `json:"outcome"`
	Results  []event.Result `json:"results"`
	Duration event.Duration `json:"duration"`
	Seq      event.Seq      `json:"seq"`
	At       time.Time      `json:"at"`
}

// New returns the state before the first record.
func New() *State {
	return &State{
		Version:  Version,
		Services: map[string]*Service{},
		Commands: map[string]*Command{},
		ended:    map[string]*Ended{},
		hash:     event.Genesis,
	}
}

// Seq is the number of the last record that was applied, 0 before the first.
func (s *State) Seq() event.Seq { return s.seq }

// Hash is the hash of the last record that was applied: the next one's prev.
func (s *State) Hash() string { return s.hash }

// Stale tells that records before this point are missing, so that the state
// is not true until the next base.
func (s *State) Stale() bool { return s.stale }

// EndedCommand finds an ended command by its id; nil if it is not kept.
func (s *State) EndedCommand(id string) *Ended { return s.ended[id] }

// Resolved returns the commands that have a result for every target and must
// now end, oldest first.
func (s *State) Resolved() []string { return s.resolved }

// Live tells whether the service has an instance, or the rest of one's tree,
// that may be alive.
func (v *Service) Live() bool { return v.Instance != nil || v.Tree != nil }

// Busy tells whether anything of the service is there or has to be done before
// it may start again: an instance, a tree, a hook.
func (v *Service) Busy() bool { return v.Live() || v.Hook != nil || v.PostStop }

// Remains tells that a completed oneshot counts as up.
func (v *Service) Remains() bool { return v.Completed && v.Spec.Remain && !v.Busy() }

// Graph is how the services depend on each other now. It is computed when it
// is asked for after a definition has changed.
func (s *State) Graph() *event.Graph {
	if s.graph == nil {
		specs := make(map[string]event.Spec, len(s.Services))
		for name, v := range s.Services {
			specs[name] = v.Spec
		}
		s.graph = event.NewGraph(specs)
	}
	return s.graph
}

// Rolling lists the open commands that do one target after the other, oldest
// first.
func (s *State) Rolling() []*Command {
	list := make([]*Command, 0, len(s.rolling))
	for _, id := range s.rolling {
		list = append(list, s.Commands[id])
	}
	return list
}

// Settled tells whether the service is at rest: no process, no restart due.
func (v *Service) Settled() bool {
	return !v.Busy() && (v.Phase == event.PhaseStopped || v.Phase == event.PhaseExited || v.Phase == event.PhaseFatal)
}
