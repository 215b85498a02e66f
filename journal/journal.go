package journal

import (
	"context"
	"fmt"
	"iter"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"supd/journal/event"
)

// Source says where a recovered state came from.
type Source string

// The sources.
const (
	FromRunLog  Source = "runlog"  // an engine died in this boot
	FromJournal Source = "journal" // first start of this boot, or the run log is lost
	FromNothing Source = "empty"   // first start ever
)

// Recovered is what a fold starts from (R2).
type Recovered struct {
	Source   Source
	Identity Identity
	Boot     string
	Base     Base // State is nil if there is none; Link is where Records begin
	// Records are those behind Base, in order, the chain checked. A *HoleError
	// stands where some are missing, and the records go on behind it; any other
	// error is their end. They can be read once, before Start; when they come
	// from JOURNAL, the context given to Open bounds the reading.
	Records iter.Seq2[event.Encoded, error]
	End     Link   // of the last of Records
	Cut     string // what a torn append left in the run log; "" if clean
	Lost    string // why the run log of this boot could not be used; "" if all is well
	InHand  string // the input that the last engine died on (R12); "" if none
	Deaths  int    // engines that died on it
}

// Journal keeps records. Append, Compact, Drop and NoteInHand belong to one
// goroutine; the other methods may be called by any.
type Journal struct {
	cfg      Config
	lock     *stateLock
	identity Identity
	boot     string
	path     string                      // of the run log
	server   func() (*natsServer, error) // the one server, when it is there
	log      *runLog                     // nil until the first Compact after a reboot
	noted    chan struct{}               // closed when node.json tells of this boot, or cannot
	q        *queue
	examiner *examiner
	lost     *event.JournalDamagedData // the run log could not be used; told by Start

	mu     sync.Mutex // guards the next three
	stream *jetStream // once open
	since  backlog    // since the newest base
	based  bool       // since counts from a base that went through here

	closing chan struct{} // closed when Close begins
	stop    context.CancelFunc
	done    chan struct{}
}

// Open takes the state folder and recovers what was recorded. With a run log
// of this boot it waits for no disk but the small reads of lock and node.json;
// otherwise it reads JOURNAL's block files. JetStream is opened after Start.
func Open(ctx context.Context, cfg Config) (_ *Journal, _ *Recovered, err error) {
	if err := cfg.fill(); err != nil {
		return nil, nil, err
	}
	j := &Journal{cfg: cfg, noted: make(chan struct{}), closing: make(chan struct{})}
	defer func() {
		if err != nil {
			j.abandon()
		}
	}()
	for _, dir := range []string{cfg.StateDir, cfg.RuntimeDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, nil, fmt.Errorf("cannot open journal: %w", err)
		}
	}
	if j.lock, err = lockState(filepath.Join(cfg.StateDir, "lock"), cfg.LockWait); err != nil {
		return nil, nil, err
	}
	if j.boot, err = Boot(); err != nil {
		return nil, nil, err
	}
	if j.identity, err = loadIdentity(&cfg, j.boot); err != nil {
		return nil, nil, err
	}
	j.boot = j.identity.boot(j.boot)
	if j.path, err = runLogPath(cfg.RuntimeDir, j.identity.NodeID, cfg.MemoryFD); err != nil {
		return nil, nil, err
	}
	j.examiner = newExaminer(&cfg, j)
	j.server = sync.OnceValues(func() (*natsServer, error) {
		s, err := startServer(&cfg)
		if err == nil {
			s.before = j.examiner.examine
		}
		return s, err
	})
	go j.server() // while the state is recovered, which needs none
	rec, err := j.recover(ctx)
	if err != nil {
		return nil, nil, err
	}
	rec.Identity, rec.Boot = j.identity, j.boot
	return j, rec, nil
}

// abandon ends what a failed Open began.
func (j *Journal) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = j.release(ctx)
}

// Start lets the publisher work: JetStream opens in the background, records
// become durable, Notify is called. The run log must exist (see Compact).
func (j *Journal) Start() error {
	if j.log == nil {
		return fmt.Errorf("cannot start publisher: %w", errNoBase)
	}
	if _, err := j.server(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	j.stop, j.done = cancel, make(chan struct{})
	if j.lost != nil {
		j.damaged(*j.lost)
	}
	p := &publisher{open: j.openStream, q: j.q, mark: j.markDurable, restore: j.restore, notify: j.cfg.Notify, timeout: publishTimeout, closing: j.closing}
	j.note()
	reserved := make(chan struct{})
	go func() {
		defer close(reserved)
		if err := j.log.reserveAll(); err != nil {
			j.cfg.Log.Warn("the run log may find no room: make some where it is", "path", j.RunLogPath(), "error", err)
		}
	}()
	go func() {
		defer func() { <-reserved; close(j.done) }()
		if j.cfg.Safe {
			p.degraded, p.began, p.cure, p.from = true, time.Now(), "safe mode's pause is over", j.q.durableLink().Seq
			if !j.beSafe(ctx) {
				return
			}
		}
		p.run(ctx)
	}()
	return nil
}

// safePause is how long safe mode keeps JetStream off. Engines that die five
// times in 10 s enter it; one that has lived twice as long may try again.
const safePause = 20 * time.Second

// beSafe keeps JetStream off for a while, or until the journal is closed, when
// what is kept should become durable. It returns false if ctx ends.
func (j *Journal) beSafe(ctx context.Context) bool {
	if j.cfg.Notify.Degraded != nil {
		j.cfg.Notify.Degraded("safe mode: JetStream is off for "+safePause.String(), time.Now())
	}
	select {
	case <-ctx.Done():
		return false
	case <-j.closing:
	case <-time.After(safePause):
	}
	return true
}

func (j *Journal) markDurable(link Link) {
	if err := j.log.markDurable(link); err != nil {
		// The mark before it stays: records are carried longer, none is lost.
		j.cfg.Log.Error("run log does not take the durable mark", "error", err)
	}
}

func (j *Journal) openStream(ctx context.Context) (Stream, error) {
	j.mu.Lock()
	open := j.stream
	j.mu.Unlock()
	if open != nil {
		return open, nil
	}
	// Nothing is durable before the identity that it belongs to is.
	if err := j.awaitNote(ctx); err != nil {
		return nil, err
	}
	server, err := j.server()
	if err != nil {
		return nil, err
	}
	s, err := openStream(ctx, server, &j.cfg)
	if err != nil {
		return nil, err
	}
	if err := j.countSinceBase(ctx, s); err != nil {
		return nil, err
	}
	return s, nil
}

func (j *Journal) countSinceBase(ctx context.Context, s *jetStream) error {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("cannot read journal: %w", err)
	}
	stored, err := sinceBase(ctx, s.js, info)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stream = s
	if !j.based {
		// Records that are in both places count twice: the base comes early.
		j.since.records += stored.records
		j.since.bytes += stored.bytes
	}
	return nil
}

// Append makes a batch kept: when it returns nil, the batch survives the death
// of every process of ours, and none or all of it survives if it does not
// return. It never waits for a disk. The batch must continue the chain. With
// ErrRunLogFull nothing was written: see Undurable and Drop.
func (j *Journal) Append(batch []event.Encoded) error {
	if j.log == nil {
		return fmt.Errorf("cannot append: %w", errNoBase)
	}
	if err := j.log.append(batch); err != nil {
		return err
	}
	j.count(batch)
	j.q.push(batch)
	return nil
}

// recordOverhead is about what JetStream adds to a record: subject, headers, sum.
const recordOverhead = 256

func (j *Journal) count(batch []event.Encoded) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range batch {
		j.since.records++
		j.since.bytes += int64(len(e.Bytes)) + recordOverhead
		if d, ok := e.Record.Data.(event.StateBaseData); ok && d.Part == d.Parts {
			j.since, j.based = backlog{}, true
		}
	}
}

// NeedBase tells that state.base records are due: the newest base in JOURNAL is
// a quarter of the limits behind (R9).
func (j *Journal) NeedBase() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.since.records >= j.cfg.MaxRecords/4 || j.since.bytes >= j.cfg.MaxBytes/4
}

// NeedCompact tells that the run log is more than half full and that Compact
// would free a good part of it, or nearly full and that it would free some.
func (j *Journal) NeedCompact() bool {
	if j.log == nil {
		return true
	}
	u := j.log.use()
	worth := u.used > u.size/2 && u.reclaimable > u.size/4 || u.used > u.size/4*3 && u.reclaimable > u.size/16
	return worth && j.log.mayCompact()
}

// Compact begins the run log anew with a base of the newest record; what is
// not yet durable is carried over. After a reboot the first call creates the
// run log. It takes a few milliseconds and, but for that first call, no disk.
func (j *Journal) Compact(base Base) error {
	if j.log != nil {
		return j.log.compact(base)
	}
	if end := j.q.end(); base.Link != end {
		return fmt.Errorf("cannot create run log: base is of record %d, the newest is %d", base.Seq, end.Seq)
	}
	log, err := createRunLog(j.path, j.cfg.RunLogSize, j.identity.NodeID, j.boot, base, j.q.durableLink(), j.q.waiting())
	if err != nil {
		return err
	}
	j.log = log
	return nil
}

// Pressure is how full the run log is with what cannot be freed yet, 0 to 1.
func (j *Journal) Pressure() float64 {
	if j.log == nil {
		return 0
	}
	u := j.log.use()
	return float64(u.used-u.reclaimable) / float64(u.size)
}

// Drop is the last resort when the run log is full (R10): it gives up all
// records that are not durable. The batch begins with the journal.gap record
// made of Undurable, numbered Last+1 with LastHash as prev; state.base records
// should follow. Base is the state after the batch. A crash in Drop leaves all
// or nothing of it done.
func (j *Journal) Drop(batch []event.Encoded, base Base) error {
	if j.log == nil {
		return fmt.Errorf("cannot drop records: %w", errNoBase)
	}
	if err := j.log.replace(base, batch); err != nil {
		return err
	}
	j.count(batch)
	j.q.replace(batch)
	return nil
}

// NoteInHand notes the input that is decided next (R12): an id of at most 200
// bytes; "" when it is done. If the engine dies in between, the next one finds
// it in Recovered.
func (j *Journal) NoteInHand(id string) error {
	if j.log == nil {
		return fmt.Errorf("cannot note input in hand: %w", errNoBase)
	}
	if len(id) > 200 {
		id = id[:200]
	}
	return j.log.noteInHand(id)
}

// Durable is the number of the newest durable record.
func (j *Journal) Durable() event.Seq { return j.q.durableLink().Seq }

// WaitDurable returns when record seq is durable, with ctx's error when that
// ends first, or with ErrFork when it never will be.
func (j *Journal) WaitDurable(ctx context.Context, seq event.Seq) error { return j.q.wait(ctx, seq) }

// RunLogPath is where the run log is, for people.
func (j *Journal) RunLogPath() string {
	if inMemory(j.path) {
		return "memory that keeper and engine hold (memfd), lost when both die at once; a tmpfs on /dev/shm or the runtime folder keeps it"
	}
	return j.path
}

// InProcessConn opens a connection to the server, which takes connections from
// Open on, whether or not JetStream's disk answers. Config.Authentication
// decides what it may do.
func (j *Journal) InProcessConn() (net.Conn, error) {
	s, err := j.server()
	if err != nil {
		return nil, err
	}
	return s.inProcessConn()
}
