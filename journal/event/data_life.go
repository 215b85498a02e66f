package event

// WaitFor is one condition that a service waits for.
type WaitFor struct {
	Service   string `json:"service"`   // one service; each replica stands for itself
	Condition string `json:"condition"` // started, ready, completed; stopped for one in conflict
}

// ConditionStopped is what a service waits for that another one is in conflict
// with: nothing of the other may be left.
const ConditionStopped = "stopped"

// ServiceWaitingData says that a service is wanted and may not start yet: the
// phase is waiting after it. It comes again when what it waits for changes.
type ServiceWaitingData struct {
	For     []WaitFor `json:"for"` // sorted; empty for the limiter
	Limiter bool      `json:"limiter,omitempty"`
	// Failed says which requirement failed, though supd goes on trying: who
	// waits for the start hears of it now.
	Failed string `json:"failed,omitempty"`
}

// InstanceReadyData says that an instance can do its work; it is running after
// it. By is notify, fd, log, tcp, http or exec.
type InstanceReadyData struct {
	Instance string   `json:"instance"`
	By       string   `json:"by"`
	Took     Duration `json:"took"` // since instance.running
}

// InstanceExtendedData says that an instance asked for more time to get ready
// or to end (EXTEND_TIMEOUT_USEC). What it replaces is the later deadline of
// its start or stop, never an earlier one.
type InstanceExtendedData struct {
	Instance string `json:"instance"`
	Of       string `json:"of"` // start, stop
	Deadline Moment `json:"deadline"`
}

// Values of InstanceExtendedData.Of.
const (
	ExtendStart = "start"
	ExtendStop  = "stop"
)

// Values of HealthChangedData.From and To.
const (
	HealthUnknown = "unknown" // of an instance that was not probed yet
	Healthy       = "healthy"
	Unhealthy     = "unhealthy"
)

// HealthChangedData says that the health of an instance passed a threshold.
type HealthChangedData struct {
	Instance string `json:"instance"`
	Probe    string `json:"probe"` // tcp, http, exec
	From     string `json:"from"`
	To       string `json:"to"`
	Failures int    `json:"failures"` // in a row
	Error    string `json:"error"`    // of the last one, at most MaxDetail bytes
}

// HookStartedData authorises one run of a hook: it is run after this record is
// kept, under the operation's name, at most once (R4).
type HookStartedData struct {
	Instance  string `json:"instance"`
	Hook      string `json:"hook"` // pre_start, post_start, pre_stop, post_stop
	Operation string `json:"operation"`
	Deadline  Moment `json:"deadline"` // then what is left of it is killed
}

// HookEndedData is the one end of a hook. Code and signal are null where it
// was never executed or nobody knows how it ended.
type HookEndedData struct {
	Instance  string   `json:"instance"`
	Hook      string   `json:"hook"`
	Operation string   `json:"operation"`
	Code      *int     `json:"code"`
	Signal    *string  `json:"signal"`
	Took      Duration `json:"took"`
	Error     string   `json:"error,omitempty"` // empty: it exited with 0
}

// HookInDoubt is the error of a hook that was begun and whose end nobody knows:
// it is not run again.
const HookInDoubt = "supd was restarted while it ran: it ran once or not at all"

// Kind returns ServiceWaiting.
func (ServiceWaitingData) Kind() Kind { return ServiceWaiting }

// Kind returns InstanceReady.
func (InstanceReadyData) Kind() Kind { return InstanceReady }

// Kind returns InstanceExtended.
func (InstanceExtendedData) Kind() Kind { return InstanceExtended }

// Kind returns HealthChanged.
func (HealthChangedData) Kind() Kind { return HealthChanged }

// Kind returns HookStarted.
func (HookStartedData) Kind() Kind { return HookStarted }

// Kind returns HookEnded.
func (HookEndedData) Kind() Kind { return HookEnded }
