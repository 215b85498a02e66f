package wire

// Scope says which processes a Signal reaches.
type Scope uint8

// The scopes of a Signal.
const (
	ScopeMain  Scope = iota + 1 // the main process only
	ScopeGroup                  // the main process's process group
	ScopeTree                   // every process of the instance
)

// String returns the scope as configuration spells it.
func (s Scope) String() string {
	return word(uint8(s), "none", "main", "group", "tree")
}

// Park asks for a stub that waits at its gate. One descriptor travels with it: a
// memfd that holds the launch block.
type Park struct {
	Service     string
	Instance    string
	Cgroup      bool   // an own cgroup is wanted, if this machine can
	Capture     bool   // output goes to the logger, else to /dev/null
	MergeStderr bool   // stderr shares stdout's pipe
	Settings    []byte // opaque, for the logger
	ReadyFD     bool   // the launch block asks for a descriptor to say on that it is ready
	Limits      Limits // of the own cgroup

	// A task runs beside an instance: its gate is opened at once, its tree is ended
	// with it and by the keeper itself at the latest at Deadline.
	Task     Task
	Owner    string // the instance it runs for; of tasks only
	Deadline uint64 // CLOCK_BOOTTIME in nanoseconds; of tasks only
}

// Limits are set in an instance's own cgroup; zero is none. Without the
// controller the instance is not started.
type Limits struct {
	Memory uint64 // bytes
	CPU    uint64 // microseconds in each 100 ms
	PIDs   uint64 // processes and threads
}

// Grant lets a user's processes write to the notify socket.
type Grant struct{ UID uint32 }

// Open asks to open the gate of a parked instance (R3).
type Open struct{ Instance string }

// Drop asks to give up a parked instance without exec, or a task at any time: it
// is ended, and nothing more is told of it.
type Drop struct{ Instance string }

// Forget tells that the engine has recorded all about a finished instance.
type Forget struct{ Instance string }

// Signal asks to send a signal at most once per operation id (R4).
type Signal struct {
	Instance  string
	Operation string
	Signal    int
	Scope     Scope
}

// Sweep asks to end everything that is left of a dead instance's tree. Cgroup is
// needed only if the keeper has no slot for the instance.
type Sweep struct {
	Instance  string
	Operation string
	Cgroup    string
}

// Adopt asks to take over a process that an earlier keeper had started.
type Adopt struct {
	Instance    string
	Service     string
	PID         int
	StartTime   uint64 // clock ticks since boot, field 22 of /proc/PID/stat
	Cgroup      string // absolute path, or empty
	Capture     bool
	MergeStderr bool
	Settings    []byte
}

// Settings carries opaque output settings of a service to the logger.
type Settings struct {
	Service string
	Data    []byte
}

// HostSignalDone tells that the host signals up to Number have been dealt with.
type HostSignalDone struct{ Number uint64 }

// Quit asks the keeper to exit with Code. Without Keep it is refused while main
// processes live.
type Quit struct {
	Code uint8
	Keep bool
}

// Kind names the type.
func (*Park) Kind() Kind { return KindPark }

// Kind names the type.
func (*Grant) Kind() Kind { return KindGrant }

// Kind names the type.
func (*Open) Kind() Kind { return KindOpen }

// Kind names the type.
func (*Drop) Kind() Kind { return KindDrop }

// Kind names the type.
func (*Forget) Kind() Kind { return KindForget }

// Kind names the type.
func (*Signal) Kind() Kind { return KindSignal }

// Kind names the type.
func (*Sweep) Kind() Kind { return KindSweep }

// Kind names the type.
func (*Adopt) Kind() Kind { return KindAdopt }

// Kind names the type.
func (*Settings) Kind() Kind { return KindSettings }

// Kind names the type.
func (*HostSignalDone) Kind() Kind { return KindHostSignalDone }

// Kind names the type.
func (*Quit) Kind() Kind { return KindQuit }

func (m *Park) walk(c *codec) {
	c.str(&m.Service, MaxService)
	c.id(&m.Instance)
	c.bool(&m.Cgroup)
	c.bool(&m.Capture)
	c.bool(&m.MergeStderr)
	c.bytes(&m.Settings, MaxSettings)
	c.bool(&m.ReadyFD)
	c.u64(&m.Limits.Memory)
	c.u64(&m.Limits.CPU)
	c.u64(&m.Limits.PIDs)
	c.enum((*uint8)(&m.Task), 0, uint8(TaskProbe))
	c.str(&m.Owner, MaxInstance)
	c.u64(&m.Deadline)
}

func (m *Grant) walk(c *codec) { c.u32(&m.UID) }

func (m *Open) walk(c *codec)   { c.id(&m.Instance) }
func (m *Drop) walk(c *codec)   { c.id(&m.Instance) }
func (m *Forget) walk(c *codec) { c.id(&m.Instance) }

func (m *Signal) walk(c *codec) {
	c.id(&m.Instance)
	c.id(&m.Operation)
	c.count(&m.Signal)
	if c.err == nil && m.Signal > 64 {
		c.fail("no signal %d", m.Signal)
	}
	c.enum((*uint8)(&m.Scope), uint8(ScopeMain), uint8(ScopeTree))
}

func (m *Sweep) walk(c *codec) {
	c.id(&m.Instance)
	c.id(&m.Operation)
	c.str(&m.Cgroup, MaxPath)
}

func (m *Adopt) walk(c *codec) {
	c.id(&m.Instance)
	c.str(&m.Service, MaxService)
	c.count(&m.PID)
	c.u64(&m.StartTime)
	c.str(&m.Cgroup, MaxPath)
	c.bool(&m.Capture)
	c.bool(&m.MergeStderr)
	c.bytes(&m.Settings, MaxSettings)
	if c.err == nil && m.PID < 2 {
		c.fail("pid %d cannot be a service", m.PID)
	}
}

func (m *Settings) walk(c *codec) {
	c.str(&m.Service, MaxService)
	c.bytes(&m.Data, MaxSettings)
}

func (m *HostSignalDone) walk(c *codec) { c.u64(&m.Number) }

func (m *Quit) walk(c *codec) {
	c.u8(&m.Code)
	c.bool(&m.Keep)
}
