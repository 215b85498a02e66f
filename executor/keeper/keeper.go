package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// Config is what cmd/supd tells the keeper.
type Config struct {
	// Exe is the program of engine and logger; empty is this one.
	Exe string
	// EngineArgs and LoggerArgs are their argv, the name included. After 5 deaths
	// in 10 s, --safe is added to the engine's.
	EngineArgs []string
	LoggerArgs []string
	// HelperArgs is what engine and logger find in a sealed memfd, on ArgsFD and
	// LoggerArgsFD: unlike arguments no other user can read it.
	HelperArgs []byte
	// Boot is what cmd/supd started this keeper with, for an upgrade; its Estate is
	// taken over. Without Args there is no upgrade in place.
	Boot Boot
	// Born tells that an orphaned engine started this keeper, and no person: a supd
	// run may take over from it (R5).
	Born       bool
	Env        []string // of engine and logger; nil is the keeper's own
	RuntimeDir string   // must exist; holds the lock
	// Lock is the lock if the caller holds it already (see Lock); nil takes it.
	Lock       *os.File
	SocketPath string      // of the control socket, at most 107 bytes
	SocketMode os.FileMode // permission bits; zero is 0600
	// CgroupName names the folder of the instances' cgroups: supd-<8 hex of the node id>.
	CgroupName string
	// CgroupRoot is the cgroup to make it in; empty finds one, "none" uses no cgroups.
	CgroupRoot string
	Version    string // for Info, up to wire.MaxText bytes
	// FinishLimit is how long the logger may take to finish before it is killed;
	// zero is 5 s.
	FinishLimit time.Duration
	// Settings, if not nil, is shown what the engine sends to the logger under no
	// service's name. It is called on the loop's goroutine and must not wait.
	Settings func(data []byte)
	Log      *slog.Logger // nil is slog.Default()

	restartLimit time.Duration // upper bound of the restart delay; zero is a second
	haltEvery    time.Duration // how often it is looked who is halted; zero is haltLook
}

// Bounds of what the keeper holds (P9).
const (
	maxSlots        = 16384
	maxOperations   = 16   // remembered per slot
	maxBacklog      = 4096 // unsent slots above which the engine is not listened to
	maxLoggerEvents = 256
	maxHostSignals  = 16
	prewarmThreads  = 30
	prewarmAfter    = 100 * time.Millisecond // the engine, whom services wait for, starts first
	treeWorkers     = 4
	spawners        = 2               // more at a time only make each slower
	finishLimit     = 5 * time.Second // unless Config says otherwise
	quitLimit       = 5 * time.Second
)

// keeper is the state. Everything belongs to the loop's goroutine; others only
// post to the mailbox.
type keeper struct {
	cfg      Config
	log      *slog.Logger
	poller   *poller
	children *children
	spawner  *spawner
	parks    *crew // forks
	trees    *crew // ends trees
	info     wire.Info
	came     wire.Came // until the first engine is told
	umask    int
	oom      int    // oom_score_adj of engine and logger
	cwd      string // of engine and logger, the keeper's own
	scratch  []byte // received packets
	packet   []byte // sent packets

	slots    map[string]*slot
	services byService[*slot] // the slots again
	engine   helper
	logger   helper
	out      outbox
	feed     feed
	scanner  scanner
	tasks    map[string][]*slot // hooks and probes, by the instance they run for
	pins     *pins              // nil where they cannot be
	granted  []uint32           // users who may write to the notify socket, sorted
	listener int
	heirs    int // listening socket of those who take over
	notify   int // the notify socket, given to every engine
	memory   int // given to every engine
	args     int // memfd with HelperArgs, given to engine and logger

	hostSignals []wire.HostSignal // not dealt with by the engine yet
	hostLast    hostSignal        // the newest that asked for the end
	hostNumber  uint64
	hostChannel chan os.Signal

	jobs       atomic.Int64 // handed to others, and not done
	hush       atomic.Bool  // quiet is set: the loop waits for the end of the jobs
	quiet      func()       // waits until there are none; nothing new begins
	quietEnd   func()       // called if that takes too long
	quietCount int          // of the quiets so far

	quitting bool
	quitCode int
	done     bool
}

// Run is the keeper: it starts engine and logger and returns the process's exit
// code after the engine's Quit, or at once with 1 if it cannot start. It changes
// the whole process (child subreaper, signals, umask, threads), reaps every
// child, and must be alone: nothing else in the process may wait for children.
func Run(cfg Config) int {
	k := &keeper{cfg: cfg, log: cfg.Log, slots: map[string]*slot{}, services: byService[*slot]{}, listener: -1, heirs: -1, notify: -1, memory: -1, args: -1}
	if k.log == nil {
		k.log = slog.Default()
	}
	if err := k.start(); err != nil {
		k.log.Error("the keeper cannot start", "error", err)
		k.stop()
		return 1
	}
	for !k.done {
		k.poller.wait()
		k.pass()
		k.flush()
	}
	k.stop()
	return k.quitCode
}

func (k *keeper) start() error {
	if len(k.cfg.EngineArgs) == 0 || len(k.cfg.LoggerArgs) == 0 {
		return errors.New("cannot run without the arguments of engine and logger")
	}
	estate := k.cfg.Boot.Estate
	if estate == nil {
		estate = NewEstate()
	}
	if err := k.lock(estate); err != nil {
		return err
	}
	closeOnExec()
	k.cwd, _ = os.Getwd()
	k.scratch, k.packet = make([]byte, wire.MaxPacket+1), make([]byte, 0, wire.MaxPacket)
	k.info.Features |= urgent()
	k.oom = protect()
	k.umask = unix.Umask(0o077)
	if estate.Keeper != nil {
		k.umask = estate.Keeper.Umask // that of the person who started the first one
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err == nil {
		k.info.Features |= wire.FeatureSubreaper
	}
	reserved := &reserve{}
	reserved.fill()
	k.children = newChildren()
	var err error
	if k.poller, err = newPoller(); err != nil {
		return err
	}
	if k.spawner, err = newSpawner(k.children, reserved); err != nil {
		return err
	}
	if err := k.descriptors(estate); err != nil {
		return err
	}
	pinned, pinsReady := startPins(k.cfg.RuntimeDir, k.log)
	k.helpersInit()
	k.takeOver(estate)
	go k.children.reap()
	if k.trees, err = newCrew(treeWorkers, runtime.LockOSThread); err != nil {
		return err
	}
	k.introduce(estate)
	k.pinsStarted(pinned, <-pinsReady)
	k.spawner.retire(urgentStubs(k.info.Cgroup)) // those of the trials: stubs are to go before others
	if k.parks, err = newCrew(spawners, func() { urgent() }); err != nil {
		return err
	}
	k.resume()
	k.hostSignalsStart()
	k.helperStart(&k.engine)
	k.helperStart(&k.logger)
	k.after(prewarmAfter, func() { go Prewarm(prewarmThreads) })
	if k.cfg.Born {
		return k.poller.watch(k.heirs, unix.EPOLLIN, func(uint32) { k.heirsReady() })
	}
	return nil
}

// lock takes the lock, or goes on with the one that was left to it (R5).
func (k *keeper) lock(e *Estate) error {
	if k.cfg.Lock == nil {
		k.cfg.Lock = e.lockfile()
	}
	if k.cfg.Lock == nil {
		lock, err := Lock(k.cfg.RuntimeDir)
		if err != nil {
			return err
		}
		k.cfg.Lock = lock
	}
	return signLock(k.cfg.Lock, k.cfg.Born)
}

// descriptors makes what engines are given, or goes on with what was left: a
// client that waits in the backlog of the control socket waits on.
func (k *keeper) descriptors(e *Estate) error {
	var err error
	if k.memory = e.Memory; k.memory < 0 {
		if k.memory, err = unix.MemfdCreate("supd-memory", unix.MFD_CLOEXEC); err != nil {
			return fmt.Errorf("cannot create memory file: %w", err)
		}
	}
	if k.args, err = sealedMemory("supd-args", k.cfg.HelperArgs, 0); err != nil {
		return err
	}
	if k.listener = e.Listener; k.listener < 0 {
		if k.listener, err = listen(k.cfg.SocketPath, k.cfg.SocketMode); err != nil {
			return err
		}
	}
	path := NotifyPath(k.cfg.SocketPath)
	if k.notify = e.Notify; k.notify < 0 {
		if k.notify, err = listenNotify(path); err != nil {
			return err
		}
	} else {
		k.granted = grantedOn(path)
	}
	if k.heirs = e.Heirs; k.heirs < 0 {
		if k.heirs, err = listenHeirs(k.cfg.RuntimeDir); err != nil {
			return err
		}
	}
	return nil
}

// listen binds the control socket. The caller holds the lock, so that a socket
// found there is a dead keeper's.
func listen(path string, mode os.FileMode) (int, error) {
	if mode == 0 {
		mode = 0o600
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		_ = os.Remove(path)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}) // nobody else may connect yet: the umask is 077
	}
	if err == nil {
		err = os.Chmod(path, mode.Perm())
	}
	if err == nil {
		err = unix.Listen(fd, 1024)
	}
	if err != nil {
		closeAll(&fd)
		return -1, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return fd, nil
}

// hostSignals are told to the engine. As PID 1 the kernel gives us no other.
var hostSignals = []os.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
}

// hostSignalsStart hands the keeper's signals to the engine; it never ends on them.
func (k *keeper) hostSignalsStart() {
	signal.Ignore(syscall.SIGPIPE)
	k.hostChannel = make(chan os.Signal, maxHostSignals)
	signal.Notify(k.hostChannel, hostSignals...)
	go func() {
		for s := range k.hostChannel {
			k.poller.post(func() { k.hostSignal(int(s.(syscall.Signal))) })
		}
	}()
}

// hostSignal keeps a signal until the engine has dealt with it. The oldest ones
// beyond the bound are repetitions: there are six kinds.
func (k *keeper) hostSignal(sig int) {
	if k.hostLast.echoed(sig, time.Now()) {
		return
	}
	k.hostNumber++
	h := wire.HostSignal{Number: k.hostNumber, Signal: sig}
	if len(k.hostSignals) == maxHostSignals {
		k.hostSignals = k.hostSignals[1:]
	}
	k.hostSignals = append(k.hostSignals, h)
	k.out.say(&h)
}

// stop gives back what outlives the process.
func (k *keeper) stop() {
	k.pinsEnd()
	if k.listener >= 0 {
		closeAll(&k.listener)
		_ = os.Remove(k.cfg.SocketPath)
	}
	if k.heirs >= 0 {
		closeAll(&k.heirs)
		_ = os.Remove(heirsPath(k.cfg.RuntimeDir))
	}
	if k.notify >= 0 {
		closeAll(&k.notify)
		_ = os.Remove(NotifyPath(k.cfg.SocketPath))
	}
	if k.info.Cgroup != "" {
		_ = unix.Rmdir(k.info.Cgroup) // fails if instances are left, rightly
	}
}

func truncate(s string, n int) string {
	return s[:min(len(s), n)]
}
