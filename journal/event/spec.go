package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Spec is the public part of a service's specification: what the journal may
// hold. It names environment variables but never holds their values, and the
// command as it is written, before ${NAME} is replaced (P10, R11).
//
// The field tags are the keys of the configuration, the tag key where JSON has
// another name; the tag change tells what
// a changed value does to a running service: R restarts it, L takes effect
// live, each says that the fields inside have keys of their own.
type Spec struct {
	Command          []string          `json:"command" change:"R"` // one element where the configuration gave a string
	CommandLine      bool              `json:"command_line" change:"R" key:"command"`
	Base             string            `json:"base" change:"L"`    // name in the configuration
	Replica          *int              `json:"replica" change:"L"` // null: not replicated
	Directory        string            `json:"directory" change:"R"`
	User             string            `json:"user" change:"R"`
	Group            string            `json:"group" change:"R"`
	Groups           []string          `json:"groups" change:"R"`
	Umask            string            `json:"umask" change:"R"`
	Environment      Environment       `json:"environment" change:"R"`
	InheritEnv       bool              `json:"inherit_environment" change:"R"`
	Autostart        bool              `json:"autostart" change:"L"`
	Restart          string            `json:"restart" change:"L"` // always, on-failure, never
	SuccessExitCodes []string          `json:"success_exit_codes" change:"L"`
	Backoff          Backoff           `json:"backoff" change:"L"`
	MaxRetries       int               `json:"max_retries" change:"L"`
	Stop             Stop              `json:"stop" change:"L"`
	ReloadSignal     string            `json:"reload_signal" change:"L" key:"reload.signal"`
	Output           Output            `json:"output" change:"L"`
	CaptureOutput    bool              `json:"output_capture" change:"R" key:"output.capture"`
	MergeStderr      bool              `json:"output_merge_stderr" change:"R" key:"output.merge_stderr"`
	Limits           map[string]string `json:"limits" change:"R"`
	Nice             int               `json:"nice" change:"R"`
	OOMScoreAdj      int               `json:"oom_score_adj" change:"R"`
	Credential       string            `json:"credential" change:"R"` // uid:gid:groups as resolved when applied

	// Newer fields come last and leave their defaults out of the JSON, so that a
	// specification which does not use them has the bytes it always had.
	Type         string       `json:"type,omitempty" change:"R"`   // simple, oneshot
	Remain       bool         `json:"remain,omitempty" change:"R"` // a completed oneshot counts as up
	After        []Dependency `json:"after,omitempty" change:"L"`
	Requires     []Dependency `json:"requires,omitempty" change:"L"`
	Wants        []Dependency `json:"wants,omitempty" change:"L"`
	Conflicts    []string     `json:"conflicts,omitempty" change:"L"`
	GroupsOf     []string     `json:"groups_of,omitempty" change:"L"`     // names that stand for it in commands
	Priority     int          `json:"priority,omitempty" change:"L"`      // the start limiter serves higher ones first
	Ready        *Ready       `json:"ready,omitempty" change:"R"`         // null: running is ready
	Health       *Health      `json:"health,omitempty" change:"L"`        // null: not watched
	StartTimeout Duration     `json:"start_timeout,omitempty" change:"R"` // of pre_start and execution; 0: the default
	Watchdog     Duration     `json:"watchdog,omitempty" change:"R"`      // longest silence between WATCHDOG=1; 0: none
	Hooks        Hooks        `json:"hooks,omitzero" change:"each"`
	Cgroup       CgroupLimits `json:"cgroup,omitzero" change:"each" key:"limits"`
}

// Environment says what a service's own environment is without its values:
// sorted names and a digest keyed with the node's secret.
type Environment struct {
	Names  []string `json:"names"`
	Digest string   `json:"digest"`
}

// Values of Spec.Restart.
const (
	RestartAlways    = "always"
	RestartOnFailure = "on-failure"
	RestartNever     = "never"
)

// Backoff holds the numbers of restart delays.
type Backoff struct {
	Initial    Duration `json:"initial"`
	Factor     float64  `json:"factor"`
	Max        Duration `json:"max"`
	ResetAfter Duration `json:"reset_after"`
	Jitter     float64  `json:"jitter"` // 0…1
}

// Values of Stop.Mode.
const (
	StopTree  = "tree"
	StopGroup = "group"
	StopMain  = "main"
)

// Stop says how a service is stopped.
type Stop struct {
	Signal  string   `json:"signal"`
	Timeout Duration `json:"timeout"` // 0: KILL at once
	Mode    string   `json:"mode"`
}

// Output holds the live part of a service's output settings.
type Output struct {
	Console  bool     `json:"console"`
	MaxSize  int64    `json:"max_size"` // bytes
	MaxFiles int      `json:"max_files"`
	MaxAge   Duration `json:"max_age"` // 0: none
	OnFull   string   `json:"on_full"` // block, drop
	Compress string   `json:"compress"`
}

// Launch is the secret part of a specification: everything the stub needs,
// resolved. It is stored by digest with mode 0600 and never enters the
// journal.
type Launch struct {
	Paths       []string      `json:"paths"` // candidates for exec, in order
	Args        []string      `json:"args"`
	Program     string        `json:"program,omitempty"` // as it is written, if that has ${NAME}: for records
	Env         []string      `json:"env"` // NAME=value, sorted; without SUPD_INSTANCE and SUPD_RUN
	Directory   string        `json:"directory"`
	Umask       uint32        `json:"umask"`
	SetUser     bool          `json:"set_user"`
	UID         uint32        `json:"uid"`
	GID         uint32        `json:"gid"`
	Groups      []uint32      `json:"groups"`
	Nice        int           `json:"nice"`
	OOMScoreAdj int           `json:"oom_score_adj"`
	Limits      []LaunchLimit `json:"limits"`

	Hooks      map[string]LaunchExec `json:"hooks,omitempty"`       // by the hook's name
	ReadyExec  *LaunchExec           `json:"ready_exec,omitempty"`  // the exec of ready
	HealthExec *LaunchExec           `json:"health_exec,omitempty"` // the exec of health
}

// LaunchExec is a hook's or a probe's command, resolved. It runs with the
// environment, directory and credentials of its service.
type LaunchExec struct {
	Paths []string `json:"paths"` // candidates for exec, in order
	Args  []string `json:"args"`
}

// LaunchLimit is one resource limit by the kernel's number.
type LaunchLimit struct {
	Resource int    `json:"resource"`
	Soft     uint64 `json:"soft"`
	Hard     uint64 `json:"hard"`
}

// Digest names the specification: SHA-256 of its JSON. Its secret parts are
// in it only through keyed digests.
func (s Spec) Digest() string {
	b, err := Marshal(s)
	if err != nil {
		panic("a specification must always encode: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Diff lists the keys in which two specifications differ, sorted, and tells
// whether one of them needs a restart.
func (s Spec) Diff(to Spec) (keys []string, restart bool) {
	keys, restart = diffFields(reflect.ValueOf(s.normal()), reflect.ValueOf(to.normal()), "")
	slices.Sort(keys)
	return slices.Compact(keys), restart
}

func diffFields(a, b reflect.Value, prefix string) (keys []string, restart bool) {
	for i := range a.NumField() {
		field := a.Type().Field(i)
		if sameJSON(a.Field(i).Interface(), b.Field(i).Interface()) {
			continue
		}
		key := field.Tag.Get("key")
		if key == "" {
			key, _, _ = strings.Cut(field.Tag.Get("json"), ",")
		}
		switch change := field.Tag.Get("change"); change {
		case "each":
			inner, r := diffFields(a.Field(i), b.Field(i), prefix+key+".")
			keys, restart = append(keys, inner...), restart || r
		default:
			keys, restart = append(keys, prefix+key), restart || change == "R"
		}
	}
	return keys, restart
}

// sameJSON compares as the journal would see it: nil and empty are one.
func sameJSON(a, b any) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	empty := func(s string) bool { return s == "null" || s == "[]" || s == "{}" }
	return errA == nil && errB == nil && (string(x) == string(y) || empty(string(x)) && empty(string(y)))
}
