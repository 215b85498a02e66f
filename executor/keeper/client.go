package keeper

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// Descriptors that the keeper gives to an engine.
const (
	EngineFD   = 3 // the socket to the keeper, for Connect
	ListenerFD = 4 // the listening control socket, for Listener
	// MemoryFD is an empty memfd which the keeper holds for its whole life: what
	// an engine writes there, its successor finds, where there is no tmpfs (R1).
	MemoryFD = 5
	// NotifyFD is the notify socket: datagrams of services, with their senders.
	NotifyFD = 6
	// HeirsFD is the listening socket of those who take over, for AcceptHeir.
	HeirsFD = 7
	// ArgsFD is a sealed memfd with Config.HelperArgs; the logger's is LoggerArgsFD.
	ArgsFD       = 8
	LoggerArgsFD = 4
)

// Park describes an instance to be parked.
type Park struct {
	Service  string
	Instance string
	// Cgroup asks for an own cgroup; without one on this machine (Info.Cgroup) the
	// instance starts without and trees are ended by search.
	Cgroup bool
	// Capture sends output through pipes to the logger, else it goes to /dev/null.
	Capture bool
	// MergeStderr makes stderr share stdout's pipe.
	MergeStderr bool
	// Settings are opaque output settings for the logger, up to wire.MaxSettings bytes.
	Settings []byte
	// Limits are set in the own cgroup; they need one, with their controllers.
	Limits Limits
	// Task makes it a hook or a probe that runs for the instance Owner, at once,
	// until Deadline (CLOCK_BOOTTIME in nanoseconds) at the latest; Ran answers.
	Task     Task
	Owner    string
	Deadline int64
	// Launch is what the stub sets up and executes. Its Env should hold
	// SUPD_INSTANCE=<Instance>, the tag by which trees are found without cgroups.
	Launch Launch
}

// Adopt names a process that an earlier keeper started.
type Adopt struct {
	Service     string
	Instance    string
	PID         int
	StartTime   uint64 // clock ticks since boot, as in Slot
	Cgroup      string // absolute path, or empty
	Capture     bool   // attach its output again
	MergeStderr bool
	Settings    []byte
}

// Client is the engine's end. Verbs may be called from any goroutine; they
// return when the keeper's socket has taken them, and their answers come as
// events. A verb fails only if its fields are out of bounds or the keeper is
// gone. All verbs may be repeated: Park, Open and Adopt act once per instance,
// Signal and Sweep once per operation id.
type Client struct {
	conn   *wire.Conn
	held   holdings
	events chan Event
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	ready *sync.Cond // queue grew, or ended
	// queue is bounded by the keeper's slots: the reader must never wait for the
	// engine, which may itself be waiting in a verb for the keeper to read.
	queue  []Event // guarded by mu
	moving bool    // guarded by mu: some that were queued are on their way to the channel
	ended  bool    // guarded by mu
	err    error   // guarded by mu: why the events ended
}

// eventRoom is how many events go to the channel without another goroutine: in
// between two of them the engine's loop mostly takes several.
const eventRoom = 64

// Connect takes over fd, usually EngineFD, and starts to receive. The first
// event is a Table.
func Connect(fd int) (*Client, error) {
	conn, err := wire.NewConn(fd)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, events: make(chan Event, eventRoom), closed: make(chan struct{})}
	c.ready = sync.NewCond(&c.mu)
	c.held = holdings{byInstance: map[string]*holding{}, services: byService[*holding]{}, common: [4]int{-1, -1, -1, -1}}
	go c.receive()
	go c.deliver()
	return c, nil
}

// Listener returns the control socket the keeper listens on, from ListenerFD.
// Clients that connect while no engine runs wait in its backlog.
func Listener() (*net.UnixListener, error) {
	f := os.NewFile(ListenerFD, "control socket")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use descriptor %d as the control socket: %w", ListenerFD, err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("cannot use descriptor %d as the control socket: it is %s", ListenerFD, l.Addr().Network())
	}
	u.SetUnlinkOnClose(false)
	return u, nil
}

// Keep takes copies of the sockets and the memory that the keeper gave to this
// engine, for its Estate. It comes before Listener, which closes the first.
func (c *Client) Keep() {
	for i, fd := range []int{ListenerFD, MemoryFD, NotifyFD, HeirsFD} {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			copied = -1
		}
		c.held.common[i] = copied
	}
}

// Events returns the channel of events. It is closed when the keeper is gone or
// after Close; Err then tells which.
func (c *Client) Events() <-chan Event { return c.events }

// Err returns why the events ended: io.EOF if the keeper is gone, net.ErrClosed
// after Close, nil while they go on.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection. The keeper then kills this process and starts
// another engine, so it is for tests and for an engine about to exit.
func (c *Client) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.conn.Close()
}

// Park asks for a stub at its gate; Parked or ParkFailed answers. The launch
// block is checked here and travels in sealed memory.
func (c *Client) Park(p Park) error {
	block, err := EncodeLaunch(p.Launch)
	if err != nil {
		return err
	}
	fd, err := sealedMemory("supd-launch", block, 0)
	if err != nil {
		return fmt.Errorf("cannot park %s: %w", p.Service, err)
	}
	defer unix.Close(fd)
	return c.conn.Send(&wire.Park{
		Service: p.Service, Instance: p.Instance, Cgroup: p.Cgroup, Capture: p.Capture,
		MergeStderr: p.MergeStderr, Settings: p.Settings, ReadyFD: p.Launch.ReadyFD != 0, Limits: p.Limits,
		Task: p.Task, Owner: p.Owner, Deadline: uint64(p.Deadline),
	}, fd)
}

// Grant lets processes of a user write to the notify socket. It has no answer;
// what is parked after it finds the way open.
func (c *Client) Grant(uid uint32) error { return c.conn.Send(&wire.Grant{UID: uid}) }

// Open opens the gate; Execed or ExecFailed answers, or Unchanged if it was
// opened before or the stub is not parked yet.
func (c *Client) Open(instance string) error {
	c.held.opening(instance)
	return c.conn.Send(&wire.Open{Instance: instance})
}

// Drop gives up an instance whose gate is not open yet; Dropped answers. A task is
// ended at any time, without an answer.
func (c *Client) Drop(instance string) error { return c.conn.Send(&wire.Drop{Instance: instance}) }

// Forget releases the slot of an ended instance, once its output is drained. It
// has no answer; for a live instance it is Unchanged.
func (c *Client) Forget(instance string) error { return c.conn.Send(&wire.Forget{Instance: instance}) }

// Signal sends sig to scope at most once per operation id; Signaled answers.
func (c *Client) Signal(instance, operation string, sig syscall.Signal, scope Scope) error {
	return c.conn.Send(&wire.Signal{Instance: instance, Operation: operation, Signal: int(sig), Scope: scope})
}

// Sweep ends everything left of a dead instance; Swept answers within about 10 s.
// Cgroup matters only if the keeper has no slot of the instance. While the main
// process lives the answer's Errno is EBUSY.
func (c *Client) Sweep(instance, operation, cgroup string) error {
	return c.conn.Send(&wire.Sweep{Instance: instance, Operation: operation, Cgroup: cgroup})
}

// Adopt takes over a process of an earlier keeper; Adopted answers.
func (c *Client) Adopt(a Adopt) error {
	return c.conn.Send(&wire.Adopt{
		Instance: a.Instance, Service: a.Service, PID: a.PID, StartTime: a.StartTime, Cgroup: a.Cgroup,
		Capture: a.Capture, MergeStderr: a.MergeStderr, Settings: a.Settings,
	})
}

// Follow asks to take another process of an instance's tree for its main one.
// Followed answers if that changes anything, else Unchanged; Slot.Named and
// Slot.Refused tell what came of it.
func (c *Client) Follow(f Follow) error { return c.conn.Send(&f) }

// Settings gives the logger new output settings of a service.
func (c *Client) Settings(service string, data []byte) error {
	c.held.settings(service, data)
	return c.conn.Send(&wire.Settings{Service: service, Data: data})
}

// HostSignalDone tells that the host signals up to number need no more attention.
func (c *Client) HostSignalDone(number uint64) error {
	return c.conn.Send(&wire.HostSignalDone{Number: number})
}

// Quit makes the keeper exit with code, after the logger has finished. Without
// keep it does nothing while main processes live; with keep they are left
// running.
func (c *Client) Quit(code uint8, keep bool) error {
	return c.conn.Send(&wire.Quit{Code: code, Keep: keep})
}

// Upgrade has the keeper execute binary in its place. If that works, this engine
// is killed and the next one finds id in Info.Upgrade; else UpgradeFailed comes.
// The descriptor stays the caller's.
func (c *Client) Upgrade(id string, binary int) error {
	return c.conn.Send(&wire.Upgrade{ID: id}, binary)
}

// receive reads to the end and queues events; it never waits for the engine.
func (c *Client) receive() {
	var v view
	for {
		m, fds, err := c.conn.Recv()
		var events []Event
		if h, ok := m.(*wire.Hold); ok && err == nil {
			c.held.take(h, fds)
		} else if err == nil {
			c.held.follow(m)
			events, err = v.take(m)
		}
		c.pass(events, err)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.conn.Close()
			}
			return
		}
	}
}

// pass hands events on, in order: those that find room in the channel at once,
// the others through the queue. An error is the end.
func (c *Client) pass(events []Event, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(events) > 0 && len(c.queue) == 0 && !c.moving {
		select {
		case c.events <- events[0]:
			events = events[1:]
			continue
		default:
		}
		break
	}
	c.queue = append(c.queue, events...)
	if err != nil {
		c.ended, c.err = true, err
	}
	if len(c.queue) > 0 || c.ended {
		c.ready.Signal()
	}
}

// deliver moves events from the queue to the channel.
func (c *Client) deliver() {
	defer close(c.events)
	for {
		c.mu.Lock()
		c.moving = false
		for len(c.queue) == 0 && !c.ended {
			c.ready.Wait()
		}
		batch := c.queue
		c.queue, c.moving = nil, true
		c.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, e := range batch {
			select {
			case c.events <- e:
			case <-c.closed:
				return
			}
		}
	}
}

// view is what this engine was told so far; it turns state into events.
type view struct {
	table *Table // being received, nil afterwards
	began bool
	slots map[string]Slot
}

// take returns the events in m. An error means that the keeper broke the protocol.
func (v *view) take(m wire.Message) ([]Event, error) {
	if v.began && v.table == nil {
		return v.event(m)
	}
	if !v.began {
		info, ok := m.(*wire.Info)
		if !ok {
			return nil, fmt.Errorf("%w: %s before info", wire.ErrMalformed, m.Kind())
		}
		v.began, v.table, v.slots = true, &Table{Info: *info}, map[string]Slot{}
		return nil, nil
	}
	switch m := m.(type) {
	case *wire.Slot:
		v.slots[m.Instance] = *m
		v.table.Slots = append(v.table.Slots, *m)
	case *wire.Operation:
		v.table.Operations = append(v.table.Operations, *m)
	case *wire.HostSignal:
		v.table.HostSignals = append(v.table.HostSignals, HostSignal{*m})
	case *wire.TableEnd:
		if m.Slots != len(v.table.Slots) {
			return nil, fmt.Errorf("%w: table of %d slots ends with %d", wire.ErrMalformed, len(v.table.Slots), m.Slots)
		}
		t := *v.table
		v.table = nil
		return []Event{t}, nil
	default:
		return nil, fmt.Errorf("%w: %s inside the table", wire.ErrMalformed, m.Kind())
	}
	return nil, nil
}

func (v *view) event(m wire.Message) ([]Event, error) {
	switch m := m.(type) {
	case *wire.Slot:
		old := v.slots[m.Instance]
		if over(m) {
			delete(v.slots, m.Instance) // the keeper has none any more
		} else {
			v.slots[m.Instance] = *m
		}
		return changes(old, *m), nil
	case *wire.Released:
		delete(v.slots, m.Instance)
		return nil, nil
	case *wire.Operation:
		switch {
		case !m.Done:
			return nil, nil
		case m.Sweep:
			return []Event{Swept{*m}}, nil
		}
		return []Event{Signaled{*m}}, nil
	case *wire.Logger:
		return []Event{LoggerStarted{*m}}, nil
	case *wire.LoggerEvent:
		return []Event{LoggerEvent{*m}}, nil
	case *wire.HostSignal:
		return []Event{HostSignal{*m}}, nil
	case *wire.UpgradeFailed:
		return []Event{UpgradeFailed{*m}}, nil
	}
	return nil, fmt.Errorf("%w: the keeper sent the engine %s", wire.ErrMalformed, m.Kind())
}
