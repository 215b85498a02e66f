package output

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a Logger. The zero value works: no total limit, the system's
// clock, a batch every 10 ms, nobody told of anything.
type Options struct {
	// MaxTotal bounds the closed segments of all services, in bytes with their
	// indexes; 0 is no limit. Active segments count and are not removed. Half
	// of the file system counts where that is less.
	MaxTotal int64
	// Tally is a file in which dropped output is counted until it is told, so
	// that the count survives a SIGKILL; best on a tmpfs. Empty is none: then a
	// kill may lose the count of the last ten seconds.
	Tally string
	// Lowered is told that MaxTotal is more than half of the file system and
	// what counts instead. It must not block.
	Lowered func(bytes int64)
	// Clock gives the wall-clock time that goes into indexes and events.
	Clock func() time.Time
	// Event is told what the journal should know; see Event. Calls come one at
	// a time and must not block: output waits for them.
	Event func(Event)
	// Drained is told that a pipe has ended and its last byte is in the file
	// or counted in a Gap. It runs on Run's goroutine and must not block.
	Drained func(instance, stream string)
	// Moved is told that a service has more bytes in its files. It runs on
	// Run's goroutine and must not block.
	Moved func(service string)
	// Tick is how long bytes gather before they are moved; 0 is 10 ms.
	Tick time.Duration

	step func(string) // tests: called after every change to the file system
}

const (
	defaultTick = 10 * time.Millisecond
	sweepEvery  = 30 * time.Second
	// syncQueue bounds the closed segments waiting for their sync. More are
	// closed without one: a slow disk must not hold back output for it.
	syncQueue = 64
	// syncDelay is how long a closed segment waits for its sync: a burst has then
	// passed, which the commits of a journaling file system would slow down.
	syncDelay = time.Second
)

// Logger drains pipes into segments. One goroutine, that of Run, does all of
// it; the other methods may be called from any goroutine at any time and do
// not wait for the disk, Finish excepted. At most one logger may run on a
// folder (R7); it takes no lock itself.
type Logger struct {
	dir  string
	opts Options

	mu       sync.Mutex
	commands []func()
	closed   bool

	done   chan struct{} // closed when Run has returned
	wakefd int
	epoll  int
	emitMu sync.Mutex
	syncs  chan toSync
	hurry  chan struct{} // closed when syncs should not wait any more
	synced chan struct{} // closed when the last sync is done
	packs  chan packJob
	packed chan struct{} // closed when the compressor has ended

	// Run's own.
	streams   map[string]*stream // by service + "/" + stream
	settings  map[string]Settings
	pipes     map[int]*pipe // by descriptor
	sources   map[source]*pipe
	readies   []*pipe       // to be moved in the next batch
	uneasy    bool          // a stream is in trouble, or a pipe waits or has a gap
	sweepEach time.Duration // how often ages are looked at
	look      lookahead
	tally     *tally
	standby   *standby
	maxTotal  int64 // Options.MaxTotal or half of the file system
	scratch   []byte
	events    []unix.EpollEvent
	batchAt   time.Time     // when the gathering batch is due; zero if none
	pause     time.Duration // how long it gathers: Tick, less under load
	sweptAt   time.Time
	totalDue  bool
	packDue   bool
	packing   bool // the compressor has a job
	packAfter time.Time
	finishing bool
}

type toSync struct {
	service string
	names   []string
	closed  time.Time
}

// NewLogger makes a logger for the output folder dir. It reads and writes no
// file; that begins with Run, and a folder that cannot be used is an event.
func NewLogger(dir string, opts Options) (*Logger, error) {
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Tick <= 0 {
		opts.Tick = defaultTick
	}
	l := &Logger{
		dir: dir, opts: opts, pause: opts.Tick,
		done: make(chan struct{}), synced: make(chan struct{}), syncs: make(chan toSync, syncQueue), hurry: make(chan struct{}),
		packs: make(chan packJob, 1), packed: make(chan struct{}),
		streams: map[string]*stream{}, settings: map[string]Settings{},
		pipes: map[int]*pipe{}, sources: map[source]*pipe{}, sweepEach: sweepEvery,
		scratch: make([]byte, 64<<10), events: make([]unix.EpollEvent, 256),
	}
	l.tally, l.standby = &tally{}, newStandby(l)
	if err := l.openDescriptors(); err != nil {
		return nil, fmt.Errorf("cannot start the logger: %w", err)
	}
	return l, nil
}

func (l *Logger) openDescriptors() (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if l.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(l.epoll)
		return err
	}
	var p [2]int
	if err = unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		unix.Close(l.epoll)
		unix.Close(l.wakefd)
		return err
	}
	l.look = lookahead{r: p[0], w: p[1], buf: make([]byte, lineSlack)}
	return l.poll(l.wakefd)
}

func (l *Logger) closeDescriptors() {
	for _, fd := range []int{l.epoll, l.wakefd, l.look.r, l.look.w} {
		unix.Close(fd)
	}
}

// Attach hands the logger the read end of a pipe, which it sets non-blocking
// and owns from then on; on an error the caller keeps it. Instance is a UUID.
// Handing over a pipe that is attached already changes nothing but the
// settings, so a caller in doubt may do it again. Several instances of a
// service may be attached: all write to the same segments, and the index tells
// whose bytes are whose.
func (l *Logger) Attach(service, instance, stream string, pipeFD int, set Settings) error {
	var st unix.Stat_t
	err := checkService(service)
	if err == nil {
		err = checkStream(stream)
	}
	id, idErr := parseInstance(instance)
	if err == nil {
		err = idErr
	}
	if err == nil {
		err = unix.Fstat(pipeFD, &st)
	}
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFIFO {
		err = fmt.Errorf("descriptor %d is not a pipe", pipeFD)
	}
	if err == nil {
		err = unix.SetNonblock(pipeFD, true)
	}
	if err == nil {
		err = l.do(func() {
			l.applySettings(service, set)
			l.attach(&pipe{fd: pipeFD, inode: st.Ino, id: id, slot: -1, aside: aside{slot: -1}, instance: instance, s: l.stream(service, stream)})
		})
	}
	if err != nil {
		return fmt.Errorf("cannot attach %s of %q: %w", stream, service, err)
	}
	return nil
}

// Settings changes how a service's output is kept, from the next batch on.
func (l *Logger) Settings(service string, set Settings) {
	_ = l.do(func() { l.applySettings(service, set) })
}

// SetMaxTotal changes Options.MaxTotal.
func (l *Logger) SetMaxTotal(bytes int64) {
	_ = l.do(func() { l.opts.MaxTotal = bytes; l.limitTotal(); l.totalDue = true })
}

// Finish moves what the pipes hold at this moment, syncs, closes everything
// and makes Run return. Pipes whose services go on writing keep the rest for
// the next logger. It returns when that is done or ctx ends.
func (l *Logger) Finish(ctx context.Context) error {
	_ = l.do(func() { l.finishing = true })
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot finish the logger: %w", ctx.Err())
	}
}

// do lets Run's goroutine do something.
func (l *Logger) do(f func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.commands = append(l.commands, f)
	l.wakeLocked()
	return nil
}

func (l *Logger) wakeLocked() {
	_, _ = unix.Write(l.wakefd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// Run does the work until Finish, or until ctx ends: then it stops where it
// is, which loses nothing either but syncs nothing. It may be called once.
func (l *Logger) Run(ctx context.Context) error {
	defer close(l.done)
	go l.syncLoop()
	packing, stopPacking := context.WithCancel(ctx)
	defer stopPacking()
	go l.packLoop(packing)
	stop := context.AfterFunc(ctx, func() { _ = l.do(func() {}) })
	defer stop()
	defer l.end(stopPacking)
	defer l.standby.rest()
	l.standby.work()
	l.recount()
	l.scan()
	l.limitTotal()
	for {
		l.takeCommands()
		if err := ctx.Err(); err != nil {
			return err
		}
		if l.finishing {
			close(l.hurry)
			l.drainAll()
			return nil
		}
		l.timers()
		if err := l.wait(); err != nil {
			return fmt.Errorf("cannot wait for output: %w", err)
		}
		l.batch()
	}
}

// end closes what is open. Commands that come later are refused; those that
// came too late to be taken are done first, so that no descriptor leaks.
func (l *Logger) end(stopPacking func()) {
	stopPacking()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.takeCommands()
	for _, p := range l.sortedPipes() {
		l.detach(p)
	}
	for _, s := range l.sorted() {
		s.release()
	}
	l.tally.close()
	if !l.finishing {
		close(l.hurry)
	}
	close(l.syncs)
	close(l.packs)
	<-l.synced
	<-l.packed
	l.mu.Lock()
	l.closeDescriptors()
	l.mu.Unlock()
}

func (l *Logger) takeCommands() {
	l.mu.Lock()
	commands := l.commands
	l.commands = nil
	l.mu.Unlock()
	for _, f := range commands {
		f()
	}
}

func (l *Logger) attach(p *pipe) {
	if l.sources[p.source()] != nil {
		unix.Close(p.fd)
		return
	}
	p.capacity = 64 << 10
	if n, err := unix.FcntlInt(uintptr(p.fd), unix.F_GETPIPE_SZ, 0); err == nil {
		p.capacity = int64(n)
	}
	l.pipes[p.fd], l.sources[p.source()] = p, p
	p.s.pipes = append(p.s.pipes, p)
	l.standby.add(p)
	if err := l.poll(p.fd); err != nil {
		// No memory or watches for it: keep it, and try like after a full disk.
		p.waiting, l.uneasy = true, true
		p.s.fail(err)
	}
}

func (l *Logger) applySettings(service string, set Settings) {
	set = set.filled()
	if old, ok := l.settings[service]; ok && old == set {
		return
	}
	l.settings[service] = set
	for _, name := range []string{Stdout, Stderr} {
		if s := l.streams[service+"/"+name]; s != nil {
			s.use(set)
			l.sweepSooner(set)
			s.trim()
			l.packDue = true
		}
	}
}

// stream returns the stream's writer, making one at first mention.
func (l *Logger) stream(service, name string) *stream {
	key := service + "/" + name
	s := l.streams[key]
	if s == nil {
		s = newStream(l, service, name)
		l.streams[key] = s
	}
	if set, ok := l.settings[service]; ok {
		s.use(set)
	}
	l.sweepSooner(s.set)
	return s
}

func (l *Logger) sorted() []*stream {
	streams := make([]*stream, 0, len(l.streams))
	for _, s := range l.streams {
		streams = append(streams, s)
	}
	slices.SortFunc(streams, func(a, b *stream) int {
		return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(b.name, a.name))
	})
	return streams
}

func (l *Logger) sortedPipes() []*pipe {
	pipes := make([]*pipe, 0, len(l.pipes))
	for _, p := range l.pipes {
		pipes = append(pipes, p)
	}
	slices.SortFunc(pipes, func(a, b *pipe) int { return cmp.Compare(a.fd, b.fd) })
	return pipes
}

func (l *Logger) wall() time.Time { return l.opts.Clock() }

func (l *Logger) step(name string) {
	if l.opts.step != nil {
		l.opts.step(name)
	}
}

func (l *Logger) emit(kind, service string, data any) {
	if l.opts.Event == nil {
		return
	}
	l.emitMu.Lock()
	defer l.emitMu.Unlock()
	l.opts.Event(Event{Kind: kind, Service: service, Data: data})
}
