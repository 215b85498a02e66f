package event

import "time"

// Reasons for which records about services and instances are written.
const (
	ReasonCommand    = "command"
	ReasonAutostart  = "autostart"
	ReasonCompleted  = "completed"
	ReasonDependency = "dependency"
	ReasonConfig     = "config"
	ReasonFatal      = "fatal"
	ReasonRestart    = "restart"
	ReasonShutdown   = "shutdown"
	ReasonMaxRetries = "max-retries"
	ReasonExec       = "exec"
	ReasonSignal     = "signal"

	ReasonStartTimeout = "start-timeout"
	ReasonRequirement  = "requirement"
	ReasonHealth       = "health"
	ReasonWatchdog     = "watchdog"
	ReasonHook         = "hook" // pre_start failed
)

// Causes of an exit.
const (
	CauseExited   = "exited"
	CauseSignaled = "signaled"
	CauseUnknown  = "unknown"
)

// ServiceDefinedData gives a service its specification. A new service is
// stopped after it.
type ServiceDefinedData struct {
	Spec   Spec   `json:"spec"`
	Digest string `json:"digest"`
}

// ServiceRemovedData ends a service; it is gone once its instance has exited.
type ServiceRemovedData struct{}

// ServiceWantedData is the only place where want changes.
type ServiceWantedData struct {
	Want   Want   `json:"want"`
	Reason string `json:"reason"` // command, autostart, completed, dependency, config, fatal
}

// ServiceFatalData says that supd gave up; a person's start clears it.
type ServiceFatalData struct {
	Reason  string `json:"reason"` // max-retries, exec, start-timeout, requirement, hook
	Retries int    `json:"retries"`
	Detail  string `json:"detail"`
}

// InstanceStartingData authorises an instance: its gate opens after this
// record is kept, never before (R3). Exactly one for each instance.
type InstanceStartingData struct {
	Instance   string `json:"instance"`
	Run        Run    `json:"run"`
	PID        int    `json:"pid"`
	StartTime  uint64 `json:"start_time"` // clock ticks since boot; with pid and boot it names a process
	Cgroup     string `json:"cgroup,omitempty"`
	SpecDigest string `json:"spec_digest"`
	Reason     string `json:"reason"` // command, autostart, restart, dependency, config
}

// InstanceRunningData says that the service's program was executed.
type InstanceRunningData struct {
	Instance string   `json:"instance"`
	Took     Duration `json:"took"` // since instance.starting
}

// InstanceExecFailedData says why the program was never executed; the exit of
// the stub follows.
type InstanceExecFailedData struct {
	Instance string `json:"instance"`
	Step     string `json:"step"` // session, limits, output, user, chdir, exec
	Errno    int    `json:"errno"`
	Error    string `json:"error"` // the errno's text
	Path     string `json:"path,omitempty"`
}

// Values of InstanceReloadingData.By: reload.signal was sent, or the service
// said so itself.
const (
	ReloadBySignal = "signal"
	ReloadByNotify = "notify"
)

// InstanceReloadingData says that an instance was told to read its own
// configuration again. It stays running.
type InstanceReloadingData struct {
	Instance string   `json:"instance"`
	By       string   `json:"by"`   // signal, notify
	Took     Duration `json:"took"` // since the command was accepted; 0 for notify
}

// InstanceStoppingData comes before the signal it names. After the exit of
// the main process it comes again if members of its tree are left: the phase
// stays stopping until instance.swept.
type InstanceStoppingData struct {
	Instance string `json:"instance"`
	Signal   string `json:"signal"`
	Deadline Moment `json:"deadline"` // then KILL to the tree
	Reason   string `json:"reason"`   // command, restart, config, shutdown, health, dependency, watchdog, start-timeout, hook
}

// Scopes of a signal.
const (
	ScopeMain  = "main"
	ScopeGroup = "group"
	ScopeTree  = "tree"
)

// InstanceSignaledData says what came of a signal. Operation is marked in the
// keeper before the signal is sent, so it is sent at most once (R4).
type InstanceSignaledData struct {
	Instance  string `json:"instance"`
	Operation string `json:"operation"`
	Signal    string `json:"signal"`
	Scope     string `json:"scope"`
	PIDs      []int  `json:"pids"`
	Result    string `json:"result"` // sent, gone, failed
	Errno     int    `json:"errno,omitempty"`
}

// InstanceExitedData is the end of an instance: exactly one for each
// instance.starting, never before it. Code and signal are null where the
// kernel could not tell.
type InstanceExitedData struct {
	Instance string   `json:"instance"`
	Code     *int     `json:"code"`
	Signal   *string  `json:"signal"`
	Core     bool     `json:"core"`
	Cause    string   `json:"cause"`    // exited, signaled, unknown
	Expected bool     `json:"expected"` // we asked for it, or its code is one of success_exit_codes
	OOM      bool     `json:"oom"`
	Uptime   Duration `json:"uptime"`
	CPU      Duration `json:"cpu"`
	MaxRSS   int64    `json:"max_rss"` // bytes; 0: unknown, or not above the keeper's own
	// Leftovers tells that members of its tree live; the record that says what
	// becomes of them follows.
	Leftovers bool `json:"leftovers"`
	// Background tells that the program looks as if it had gone into the
	// background: it ended with code 0 and unasked before it was ready, or at once
	// or with others left, though it is to be restarted always.
	Background bool `json:"background,omitempty"`
}

// InstanceStuckData says that an instance was killed and is not dead. It is
// never replaced while it is stuck (R4).
type InstanceStuckData struct {
	Instance string    `json:"instance"`
	PID      int       `json:"pid"`
	State    string    `json:"state"`
	Since    time.Time `json:"since"`
}

// Process names a process to people.
type Process struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
}

// InstanceSweptData says that nothing is left of an instance's tree, or what
// survived. It comes before the next instance.starting.
type InstanceSweptData struct {
	Instance string    `json:"instance"`
	Method   string    `json:"method"`
	Killed   []Process `json:"killed"`
	Survived int       `json:"survived"`
	// Left are the survivors, as many as a record names: those that stop.mode main
	// leaves alive, or that KILL did not end. They may have other names by now.
	Left []Process `json:"left,omitempty"`
	Took Duration  `json:"took"`
}

// MaxLeft bounds InstanceSweptData.Left.
const MaxLeft = 16

// InstanceAdoptedData says that a keeper found an instance again that it had
// not started, or that the service named another of its processes as the main
// one (by notify): same instance, same run.
type InstanceAdoptedData struct {
	Instance  string `json:"instance"`
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"`
	By        string `json:"by"`     // keeper, cgroup, tag, notify
	Output    string `json:"output"` // attached, lost
}

// Words of InstanceAdoptedData.
const (
	AdoptedByNotify = "notify"   // the service said so (MAINPID)
	OutputAttached  = "attached" // and not lost
)

// Exit is the form of an exit that decisions carry.
type Exit struct {
	Code   *int    `json:"code"`
	Signal *string `json:"signal"`
}

// RestartPolicy is the part of a specification a restart decision used.
type RestartPolicy struct {
	Restart    string  `json:"restart"`
	Backoff    Backoff `json:"backoff"`
	MaxRetries int     `json:"max_retries"`
}

// RestartScheduledData is the decision to restart, with its numbers (P6).
type RestartScheduledData struct {
	Retry     int           `json:"retry"` // 1 is the first after a start or a stable time
	Delay     Duration      `json:"delay"` // jitter included
	Jitter    float64       `json:"jitter"`
	NotBefore Moment        `json:"not_before"`
	Exit      Exit          `json:"exit"`
	Policy    RestartPolicy `json:"policy"`
	// Shortage tells that nothing was tried: the machine lacked the resources for
	// a process. It counts as no retry and no restart.
	Shortage bool `json:"shortage,omitempty"`
}

// RestartCancelledData says that a scheduled restart will not happen as
// scheduled.
type RestartCancelledData struct {
	By string `json:"by"` // command, config, shutdown
}

// Kind returns ServiceDefined.
func (ServiceDefinedData) Kind() Kind { return ServiceDefined }

// Kind returns ServiceRemoved.
func (ServiceRemovedData) Kind() Kind { return ServiceRemoved }

// Kind returns ServiceWanted.
func (ServiceWantedData) Kind() Kind { return ServiceWanted }

// Kind returns ServiceFatal.
func (ServiceFatalData) Kind() Kind { return ServiceFatal }

// Kind returns InstanceStarting.
func (InstanceStartingData) Kind() Kind { return InstanceStarting }

// Kind returns InstanceRunning.
func (InstanceRunningData) Kind() Kind { return InstanceRunning }

// Kind returns InstanceExecFailed.
func (InstanceExecFailedData) Kind() Kind { return InstanceExecFailed }

// Kind returns InstanceReloading.
func (InstanceReloadingData) Kind() Kind { return InstanceReloading }

// Kind returns InstanceStopping.
func (InstanceStoppingData) Kind() Kind { return InstanceStopping }

// Kind returns InstanceSignaled.
func (InstanceSignaledData) Kind() Kind { return InstanceSignaled }

// Kind returns InstanceExited.
func (InstanceExitedData) Kind() Kind { return InstanceExited }

// Kind returns InstanceStuck.
func (InstanceStuckData) Kind() Kind { return InstanceStuck }

// Kind returns InstanceSwept.
func (InstanceSweptData) Kind() Kind { return InstanceSwept }

// Kind returns InstanceAdopted.
func (InstanceAdoptedData) Kind() Kind { return InstanceAdopted }

// Kind returns RestartScheduled.
func (RestartScheduledData) Kind() Kind { return RestartScheduled }

// Kind returns RestartCancelled.
func (RestartCancelledData) Kind() Kind { return RestartCancelled }
