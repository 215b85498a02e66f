package wire

// Features are what this machine lets the keeper do, as bits of Info.Features.
const (
	FeatureCgroup       uint32 = 1 << iota // own cgroup per instance
	FeatureCgroupKill                      // cgroup.kill (Linux 5.14)
	FeatureCgroupFreeze                    // cgroup.freeze (Linux 5.2)
	FeaturePidfdExit                       // exit status of adopted processes (Linux 6.15)
	FeatureSubreaper                       // orphans come to the keeper
	FeatureRoot                            // the keeper may change users
	FeatureMemory                          // controllers of the instances' cgroups: memory
	FeatureCPU                             // cpu
	FeaturePIDs                            // pids
	FeatureRealTime                        // the keeper's threads go before all normal ones
	FeatureNice                            // they only have a better nice value
	FeaturePidfdPinned                     // exit status even if all of supd dies
)

// Death is how a process of ours ended; PID 0 means that none did so far.
type Death struct {
	PID    int
	Code   int // exit code, if Signal is 0
	Signal int
	At     uint64 // CLOCK_BOOTTIME in nanoseconds
}

// Info opens every table: the keeper introduces itself to a new engine.
type Info struct {
	PID          int
	StartTime    uint64 // clock ticks since boot
	Version      string
	Cgroup       string // folder of the instances' cgroups, or empty
	CgroupReason string // why there is none
	Features     uint32
	Safe         bool   // this engine was started with --safe
	EngineStarts uint64 // in this keeper's life, this one included
	EngineDeath  Death  // of the engine before this one
	Logger       Logger
	Upgrade      string // id of the last Upgrade that made this keeper what it is
	Came         Came   // for a keeper's first engine
}

// Came is how a keeper came to hold services before its first engine started.
type Came uint8

// The ways.
const (
	CameFresh     Came = iota // it holds none, or this is not its first engine
	CameInherited             // another keeper was lost, or taken over from
	CameUpgraded              // the same process executed another program
)

// String returns the way's name.
func (w Came) String() string { return word(uint8(w), "fresh", "inherited", "upgraded") }

// Logger tells about the logger: at the start of a table, and when it changes.
type Logger struct {
	PID    int // 0 while none runs
	Starts uint64
	Death  Death // of the logger before this one
}

// TableEnd closes a table; Slots is how many were in it.
type TableEnd struct{ Slots int }

// LoggerEvent is opaque data from the logger for the engine. Dropped counts
// events that the keeper had to drop before this one because the engine was
// away for too long (P4).
type LoggerEvent struct {
	Data    []byte
	Dropped uint64
}

// HostSignal tells that the keeper was sent a signal; kept until HostSignalDone.
type HostSignal struct {
	Number uint64 // 1, 2, … in this keeper's life
	Signal int
}

// Attach hands the logger the read end of one pipe, the descriptor that travels
// with it. It comes again, for all pipes not drained, to each new logger (R7).
type Attach struct {
	Instance string
	Service  string
	Stream   Stream
	Merged   bool // stderr shares this pipe
	Settings []byte
}

// Finish asks the logger to take what is in the pipes now, sync and exit.
type Finish struct{}

// Drained tells that the logger has read a pipe to its end.
type Drained struct {
	Instance string
	Stream   Stream
}

// Kind names the type.
func (*Info) Kind() Kind { return KindInfo }

// Kind names the type.
func (*Logger) Kind() Kind { return KindLogger }

// Kind names the type.
func (*TableEnd) Kind() Kind { return KindTableEnd }

// Kind names the type.
func (*LoggerEvent) Kind() Kind { return KindLoggerEvent }

// Kind names the type.
func (*HostSignal) Kind() Kind { return KindHostSignal }

// Kind names the type.
func (*Attach) Kind() Kind { return KindAttach }

// Kind names the type.
func (*Finish) Kind() Kind { return KindFinish }

// Kind names the type.
func (*Drained) Kind() Kind { return KindDrained }

func (m *Info) walk(c *codec) {
	c.count(&m.PID)
	c.u64(&m.StartTime)
	c.str(&m.Version, MaxText)
	c.str(&m.Cgroup, MaxPath)
	c.str(&m.CgroupReason, MaxText)
	c.u32(&m.Features)
	c.bool(&m.Safe)
	c.u64(&m.EngineStarts)
	m.EngineDeath.walk(c)
	m.Logger.walk(c)
	c.str(&m.Upgrade, MaxInstance)
	c.enum((*uint8)(&m.Came), 0, uint8(CameUpgraded))
}

func (d *Death) walk(c *codec) {
	c.count(&d.PID)
	c.count(&d.Code)
	c.count(&d.Signal)
	c.u64(&d.At)
}

func (m *Logger) walk(c *codec) {
	c.count(&m.PID)
	c.u64(&m.Starts)
	m.Death.walk(c)
}

func (m *TableEnd) walk(c *codec) { c.count(&m.Slots) }

func (m *LoggerEvent) walk(c *codec) {
	c.bytes(&m.Data, MaxEvent)
	c.u64(&m.Dropped)
}

func (m *HostSignal) walk(c *codec) {
	c.u64(&m.Number)
	c.count(&m.Signal)
}

func (m *Attach) walk(c *codec) {
	c.id(&m.Instance)
	c.str(&m.Service, MaxService)
	c.enum((*uint8)(&m.Stream), uint8(Stdout), uint8(Stderr))
	c.bool(&m.Merged)
	c.bytes(&m.Settings, MaxSettings)
}

func (*Finish) walk(*codec) {}

func (m *Drained) walk(c *codec) {
	c.id(&m.Instance)
	c.enum((*uint8)(&m.Stream), uint8(Stdout), uint8(Stderr))
}
