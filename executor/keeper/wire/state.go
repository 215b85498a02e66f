package wire

import (
	"fmt"
	"syscall"
)

// State is where an instance stands. Ended states follow from the earlier ones
// in this order: Parking, Parked, Opening, then Open or ExecFailed, then Exited.
type State uint8

// The states of a slot.
const (
	StateParking    State = iota + 1 // the stub is being forked or set up
	StateParked                      // the stub waits at its gate
	StateOpening                     // the gate is being opened; it may have run since
	StateOpen                        // the program was exec'd, or the process adopted
	StateExecFailed                  // the stub could not exec and is ending
	StateExited                      // the main process is dead (proof: waitid or pidfd)
	StateParkFailed                  // no stub got as far as the gate; nothing of the user ran
	StateDropped                     // the stub ended without exec as asked
	StateGone                        // an adoption found no such process
	StateUnknown                     // the keeper has no such instance
)

// String returns the state's name.
func (s State) String() string {
	return word(uint8(s), "none", "parking", "parked", "opening", "open", "exec-failed", "exited",
		"park-failed", "dropped", "gone", "unknown")
}

// Step is where starting an instance failed.
type Step uint8

// The steps. Fork and those before it fail in the keeper, the others in the stub.
const (
	StepPipe    Step = iota + 1 // pipes for output, gate or status
	StepCgroup                  // the instance's own cgroup
	StepFork                    // the fork, or the exec of the stub
	StepLaunch                  // the launch block could not be read
	StepSession                 // setsid, signals, scheduling
	StepLimits                  // resource limits
	StepOutput                  // reopening stdout and stderr
	StepUser                    // groups, gid, uid
	StepChdir                   // the working directory
	StepExec                    // every candidate path failed
	StepLost                    // the stub died without a word
)

// String returns the step's name.
func (s Step) String() string {
	return word(uint8(s), "none", "pipe", "cgroup", "fork", "launch", "session", "limits", "output", "user",
		"chdir", "exec", "lost")
}

// Failure says why an instance could not be started. The zero value says that
// nothing failed.
type Failure struct {
	Step  Step
	Errno syscall.Errno
	// Index is which of the launch block's Paths Errno belongs to, for StepExec,
	// and which of its Limits, for StepLimits.
	Index int
}

// Error reads "cannot <step>: <cause>".
func (f Failure) Error() string {
	return fmt.Sprintf("cannot start: step %s: %s", f.Step, f.Errno)
}

// Adoption is what came of an Adopt.
type Adoption uint8

// The outcomes of an Adopt.
const (
	AdoptionNone   Adoption = iota // the slot was not adopted
	AdoptionOK                     // the process is the one asked for and lives
	AdoptionGone                   // there is no such process any more
	AdoptionReused                 // the pid belongs to another process now
)

// String returns the outcome's name.
func (a Adoption) String() string { return word(uint8(a), "none", "ok", "gone", "pid-reused") }

// Task is what a slot is beside an instance's main process.
type Task uint8

// The tasks.
const (
	TaskNone  Task = iota // it is an instance
	TaskHook              // a hook: its output goes to the logger, its result waits for the engine
	TaskProbe             // a probe: the keeper keeps its last words; it ends with the engine
)

// String returns the task's name.
func (t Task) String() string { return word(uint8(t), "none", "hook", "probe") }

// Stream is one output of a service.
type Stream uint8

// The streams.
const (
	Stdout Stream = iota + 1
	Stderr
)

// String returns "stdout" or "stderr".
func (s Stream) String() string { return word(uint8(s), "none", "stdout", "stderr") }

// Slot is all the keeper knows about one instance. The keeper keeps it until
// Forget (or until it was told once, for Dropped, Gone and Unknown).
type Slot struct {
	Service  string
	Instance string
	State    State
	// PID and StartTime (clock ticks since boot, field 22 of /proc/PID/stat) name
	// the main process; zero before a stub was forked.
	PID       int
	StartTime uint64
	Cgroup    string // absolute path, or empty
	Failure   Failure
	Execed    bool // the program was seen to be exec'd
	Adoption  Adoption
	// OutputLost: an adopted process's output could not be attached again.
	OutputLost bool
	// ParkedAt, OpenedAt, ExitedAt are CLOCK_BOOTTIME in nanoseconds, or zero.
	ParkedAt, OpenedAt, ExitedAt uint64
	Exit                         Exit // meaningful in StateExited
	// Leftovers: when the main process's death was seen, others of its tree lived.
	// In StateGone: the cgroup is populated.
	Leftovers bool
	// TreeEmpty: the leftovers are gone since.
	TreeEmpty bool
	// Forgotten: the engine released the slot; it stays until its output is drained.
	Forgotten bool
	// Piped and Drained, per stream: a pipe exists; it was read to its end.
	StdoutPiped, StderrPiped     bool
	StdoutDrained, StderrDrained bool
	// Ready: a newline came on the descriptor for it.
	Ready bool
	// OOM: the kernel killed one of the instance's processes for want of memory.
	OOM bool
	// Task, Owner, Deadline are as in Park. TimedOut: the keeper ended the task at
	// its deadline. Tail is the last of what a probe wrote, up to MaxTail bytes.
	Task     Task
	Owner    string
	Deadline uint64
	TimedOut bool
	Tail     []byte
	// Named is the process of the last Follow, Refused why it is not the main one.
	Named   int
	Refused Refusal
}

// Exit is how a main process ended.
type Exit struct {
	// Known is false for an adopted process whose status the kernel would not tell.
	Known  bool
	Status syscall.WaitStatus
	// CPU is user and system time in nanoseconds, of the process and the children
	// it waited for; MaxRSS is in KiB, and zero where it is not above the keeper's
	// own, which hides it. Both are zero for adopted processes.
	CPU    uint64
	MaxRSS uint64
}

// Method is how an operation reached the processes of an instance.
type Method uint8

// The methods.
const (
	MethodNone       Method = iota
	MethodPidfd             // pidfd_send_signal to the main process
	MethodGroup             // kill of the process group
	MethodCgroupEach        // every process listed in the cgroup, one by one
	MethodCgroupKill        // cgroup.kill
	MethodFreezeKill        // cgroup.freeze, then every process listed
	MethodScan              // a search of /proc by session, descent and tag
)

// String returns the method's name.
func (m Method) String() string {
	return word(uint8(m), "none", "pidfd", "group", "cgroup-each", "cgroup.kill", "freeze-kill", "scan")
}

// Process is a process named for people; the pid may have been reused since.
type Process struct {
	PID  int
	Comm string
}

// Operation is a Signal or a Sweep and, when Done, its result. The keeper keeps
// the last operations of each slot, so that one id acts at most once (R4).
type Operation struct {
	Instance string
	ID       string
	Sweep    bool // a Sweep, else a Signal
	Done     bool
	Signal   int
	Scope    Scope // zero for a Sweep
	Method   Method
	Errno    syscall.Errno // zero if all went well; ESRCH if there was no process
	// Count is how many processes were reached, 0 if that is not known (MethodGroup
	// reports 1); Processes names up to MaxPIDs of them.
	Count     int
	Processes []Process
	Survived  int    // processes still there at the end of a Sweep
	Took      uint64 // nanoseconds
	// Left names up to MaxPIDs of those that survived.
	Left []Process
}

// Kind names the type.
func (*Slot) Kind() Kind { return KindSlot }

// Kind names the type.
func (*Operation) Kind() Kind { return KindOperation }

func (m *Slot) walk(c *codec) {
	c.str(&m.Service, MaxService)
	c.id(&m.Instance)
	c.enum((*uint8)(&m.State), uint8(StateParking), uint8(StateUnknown))
	c.count(&m.PID)
	c.u64(&m.StartTime)
	c.str(&m.Cgroup, MaxPath)
	m.Failure.walk(c)
	c.bool(&m.Execed)
	c.enum((*uint8)(&m.Adoption), 0, uint8(AdoptionReused))
	c.bool(&m.OutputLost)
	c.u64(&m.ParkedAt)
	c.u64(&m.OpenedAt)
	c.u64(&m.ExitedAt)
	m.Exit.walk(c)
	c.bool(&m.Leftovers)
	c.bool(&m.TreeEmpty)
	c.bool(&m.Forgotten)
	c.bool(&m.StdoutPiped)
	c.bool(&m.StderrPiped)
	c.bool(&m.StdoutDrained)
	c.bool(&m.StderrDrained)
	c.bool(&m.Ready)
	c.bool(&m.OOM)
	c.enum((*uint8)(&m.Task), 0, uint8(TaskProbe))
	c.str(&m.Owner, MaxInstance)
	c.u64(&m.Deadline)
	c.bool(&m.TimedOut)
	c.bytes(&m.Tail, MaxTail)
	c.count(&m.Named)
	c.enum((*uint8)(&m.Refused), 0, uint8(RefusalEnded))
}

func (f *Failure) walk(c *codec) {
	c.enum((*uint8)(&f.Step), 0, uint8(StepLost))
	c.errno(&f.Errno)
	c.count(&f.Index)
}

func (e *Exit) walk(c *codec) {
	c.bool(&e.Known)
	c.u32((*uint32)(&e.Status))
	c.u64(&e.CPU)
	c.u64(&e.MaxRSS)
}

func (m *Operation) walk(c *codec) {
	c.id(&m.Instance)
	c.id(&m.ID)
	c.bool(&m.Sweep)
	c.bool(&m.Done)
	c.count(&m.Signal)
	c.enum((*uint8)(&m.Scope), 0, uint8(ScopeTree))
	c.enum((*uint8)(&m.Method), 0, uint8(MethodScan))
	c.errno(&m.Errno)
	c.count(&m.Count)
	c.processes(&m.Processes)
	c.count(&m.Survived)
	c.u64(&m.Took)
	c.processes(&m.Left)
}

// processes carries up to MaxPIDs processes.
func (c *codec) processes(v *[]Process) {
	n := len(*v)
	c.count(&n)
	if n > MaxPIDs {
		c.fail("%d processes exceed %d", n, MaxPIDs)
	}
	if c.err == nil && c.decoding && n > 0 {
		*v = make([]Process, n)
	}
	for i := 0; i < n && c.err == nil; i++ {
		c.count(&(*v)[i].PID)
		c.str(&(*v)[i].Comm, maxComm)
	}
}

func (c *codec) errno(v *syscall.Errno) {
	n := uint32(*v)
	c.u32(&n)
	*v = syscall.Errno(n)
}

// word returns words[v], or the number for a value without a name.
func word(v uint8, words ...string) string {
	if int(v) < len(words) {
		return words[v]
	}
	return fmt.Sprint(v)
}
