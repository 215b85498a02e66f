package event

import (
	"encoding/json"
	"time"
)

// Start modes of an engine, in EngineStartedData.Mode.
const (
	ModeFirst      = "first"       // no journal before it
	ModeCrash      = "crash"       // the engine before it died, the keeper lived
	ModeKeeperLost = "keeper-lost" // the keeper died, the engine lived
	ModeAllLost    = "all-lost"    // keeper and engine died, the boot is the same
	ModeUpgrade    = "upgrade"     // another program in the same keeper
	ModeRestart    = "restart"     // after an orderly end
	ModeReboot     = "reboot"      // another boot
	ModeSafe       = "safe"        // after repeated deaths, JetStream off (R12)
)

// EngineStartedData is the first record of each engine.
type EngineStartedData struct {
	Version  string `json:"version"`
	PID      int    `json:"pid"`
	Mode     string `json:"mode"`
	BaseSeq  Seq    `json:"base_seq"` // the fold started here
	Replayed int    `json:"replayed"` // records folded after the base
}

// KeeperStartedData says which keeper the engine serves. StartTime tells two
// keepers of one pid apart.
type KeeperStartedData struct {
	PID       int       `json:"pid"`
	StartTime uint64    `json:"start_time"`
	Previous  *Previous `json:"previous"`
	Version   string    `json:"version"`
}

// LoggerStartedData says which logger drains output now.
type LoggerStartedData struct {
	PID      int       `json:"pid"`
	Previous *Previous `json:"previous"`
	Version  string    `json:"version"`
}

// SupdStoppingData opens an orderly end.
type SupdStoppingData struct {
	Reason       string `json:"reason"` // signal, command, completed: the one command has ended
	KeepServices bool   `json:"keep_services"`
	Forced       bool   `json:"forced"`
}

// SupdStoppedData is the last record before an orderly end; where it is
// missing the end was unclean.
type SupdStoppedData struct {
	Reason       string `json:"reason"`
	KeepServices bool   `json:"keep_services"`
	Forced       bool   `json:"forced"`
}

// RecoverySettledData says how one item in doubt was settled; Row is the row
// of the recovery table in executor/policy.
type RecoverySettledData struct {
	Row      int    `json:"row"`
	Service  string `json:"service,omitempty"`
	Instance string `json:"instance,omitempty"`
	Found    string `json:"found"`
	Done     string `json:"done"`
}

// StateBaseData is one part of the canonical state as it was before part 1.
// A fold may start at a complete base (R9).
type StateBaseData struct {
	Part    int             `json:"part"` // 1…Parts
	Parts   int             `json:"parts"`
	Version int             `json:"version"` // of the canonical form
	State   json.RawMessage `json:"state,omitempty"`
	Chunk   string          `json:"chunk,omitempty"` // where Parts > 1: a slice of the state's text
}

// ConfigFile is one file a configuration was read from. In records its digest
// is keyed with the node's secret: equal digests are equal files, and nobody
// can guess what is in one.
type ConfigFile struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"` // lower-case hex; in records HMAC-SHA-256
}

// Actions of a ConfigChange.
const (
	ChangeRestart = "restart"
	ChangeLive    = "live"
)

// ConfigChange says what an applied configuration does to one service.
type ConfigChange struct {
	Service string   `json:"service"`
	Keys    []string `json:"keys"`
	Action  string   `json:"action"` // restart, live
}

// ConfigAppliedData comes before the effects of a configuration (R11).
type ConfigAppliedData struct {
	Digest  string         `json:"digest"`
	Files   []ConfigFile   `json:"files"`
	Added   []string       `json:"added"`
	Removed []string       `json:"removed"`
	Changed []ConfigChange `json:"changed"`
	// Scale holds every count that a command has set in place of the
	// configuration's, by base name.
	Scale map[string]int `json:"scale,omitempty"`
	Start *StartLimit    `json:"start,omitempty"` // null: no limit
}

// StartLimit bounds the rate of automatic restarts of all services together:
// a bucket of Burst tokens that gains Rate tokens a second; a restart takes one.
type StartLimit struct {
	Rate  float64 `json:"rate"`
	Burst int     `json:"burst"`
}

// ConfigError is one fault in a configuration file.
type ConfigError struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// ConfigRejectedData says that a configuration was refused whole.
type ConfigRejectedData struct {
	Errors []ConfigError `json:"errors"`
}

// OutputGapData counts output that was not kept (P4). Lines and bytes are null
// where nobody could count them: it was in the pipe of a service that ended while
// nobody of supd lived, or that supd was reading when all of it was killed.
type OutputGapData struct {
	Stream   string    `json:"stream"`
	Instance string    `json:"instance"`
	Lines    *int64    `json:"lines"`
	Bytes    *int64    `json:"bytes"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Reason   string    `json:"reason"`
}

// OutputTrimmedData counts output that retention removed.
type OutputTrimmedData struct {
	Stream   string    `json:"stream"`
	Segments int       `json:"segments"`
	Bytes    int64     `json:"bytes"`
	Oldest   time.Time `json:"oldest"`
	Newest   time.Time `json:"newest"`
	Why      string    `json:"why"` // count, age, total
}

// JournalDegradedData opens a time in which acts went on kept but not yet
// durable (R1).
type JournalDegradedData struct {
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

// JournalHealedData closes it: everything kept meanwhile is durable.
type JournalHealedData struct {
	Duration Duration `json:"duration"`
	Records  int      `json:"records"`
	Method   string   `json:"method"` // caught-up, reopened
}

// ResourcePressedData opens a time in which something ran out.
type ResourcePressedData struct {
	What  string `json:"what"` // disk, fds, processes, threads, memory
	Errno string `json:"errno"`
	Limit string `json:"limit"` // the cause as people read it
}

// ResourceRelievedData closes it. Refused is what could not be done meanwhile.
type ResourceRelievedData struct {
	What     string `json:"what"`
	Duration string `json:"duration"`
	Refused  int64  `json:"refused"`
}

// Kind returns ResourcePressed.
func (ResourcePressedData) Kind() Kind { return ResourcePressed }

// Kind returns ResourceRelieved.
func (ResourceRelievedData) Kind() Kind { return ResourceRelieved }

// Kind returns EngineStarted.
func (EngineStartedData) Kind() Kind { return EngineStarted }

// Kind returns KeeperStarted.
func (KeeperStartedData) Kind() Kind { return KeeperStarted }

// Kind returns LoggerStarted.
func (LoggerStartedData) Kind() Kind { return LoggerStarted }

// Kind returns SupdStopping.
func (SupdStoppingData) Kind() Kind { return SupdStopping }

// Kind returns SupdStopped.
func (SupdStoppedData) Kind() Kind { return SupdStopped }

// Kind returns RecoverySettled.
func (RecoverySettledData) Kind() Kind { return RecoverySettled }

// Kind returns StateBase.
func (StateBaseData) Kind() Kind { return StateBase }

// Kind returns ConfigApplied.
func (ConfigAppliedData) Kind() Kind { return ConfigApplied }

// Kind returns ConfigRejected.
func (ConfigRejectedData) Kind() Kind { return ConfigRejected }

// Kind returns OutputGap.
func (OutputGapData) Kind() Kind { return OutputGap }

// Kind returns OutputTrimmed.
func (OutputTrimmedData) Kind() Kind { return OutputTrimmed }

// Kind returns JournalDegraded.
func (JournalDegradedData) Kind() Kind { return JournalDegraded }

// Kind returns JournalHealed.
func (JournalHealedData) Kind() Kind { return JournalHealed }
