package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"supd/cmd/internal/config"
	"supd/cmd/internal/exitcode"
	"supd/executor"
	"supd/executor/keeper"
	"supd/executor/policy"
	"supd/executor/probe"
	"supd/journal"
	"supd/journal/control"
	"supd/journal/event"
	"supd/projector"
)

// How long the engine waits at its two ends.
const (
	lockWait  = 5 * time.Second // for a predecessor that is dying
	closeWait = 5 * time.Second // for the last records to become durable
	// sickWait is the same where the journal is known to take none: the run log
	// keeps them, and who shuts a machine down should not wait for a full disk.
	sickWait = time.Second
)

// engine is the event-sourced part of supd, wired together: journal and
// executor meet here and nowhere else.
type engine struct {
	args     keeperArgs
	log      *slog.Logger
	client   *keeper.Client
	prober   *probe.Prober
	journal  *journal.Journal
	identity journal.Identity
	boot     string
	loop     *executor.Loop
	applied  applied
	configs  *configurator
	set      *config.Set // of supd itself, as applied
	launches launches
	pending  *reading // what supd run left to be applied, read once; nil when it was
	auth     *control.Authentication
	bridge   *control.Bridge
	server   *control.Server
	socket   string // the control socket's path
	network  *network
	notify   *notifier
	single   single
	upgrades upgrader
	conn     *nats.Conn
	started  time.Time

	outputSize folderSize // for info
	health     health     // of the journal, for info
	tidy       tidy
}

// engineThreads are what an engine needs with clients, a journal that hangs and
// a collection under way.
const engineThreads = 20

// prewarmAfter is when engine and logger make the threads that they may need one
// day: not while services are being started, which want the processor.
const prewarmAfter = 250 * time.Millisecond

func engineMain(safe bool) int {
	a, err := helperArgs(keeper.ArgsFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "supd:", err)
		return exitcode.Usage
	}
	log := newLog(a, modeEngine)
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE) // the keeper is told and tells us
	debug.SetGCPercent(smallHeap)
	calmMonitor()
	limitMemory(engineMemory)
	keeper.Prefer()
	time.AfterFunc(prewarmAfter, func() { keeper.Prewarm(engineThreads) })
	e := &engine{args: a, log: log, started: time.Now(), applied: applied{a.Places.State, a.Places.Runtime}}
	e.tidy.rest = e.rest
	err = e.run(safe)
	if e.client != nil && errors.Is(e.client.Err(), io.EOF) && err != nil {
		err = e.orphaned()
	}
	if err != nil {
		log.Error("the engine ends", "error", err)
		return exitcode.Failed
	}
	return exitcode.Done
}

func (e *engine) run(safe bool) error {
	var err error
	if e.client, err = keeper.Connect(keeper.EngineFD); err != nil {
		return err
	}
	e.client.Keep()
	listener, err := keeper.Listener()
	if err != nil {
		return err
	}
	if e.prober, err = e.newProber(); err != nil {
		return err
	}
	was, err := e.recover(safe)
	if err != nil {
		return err
	}
	if err := e.configuration(was.state); err != nil {
		return err
	}
	e.loop = executor.NewLoop(executor.LoopConfig{
		Core: executor.Config{
			State: was.state, Journal: journalPort{e.journal, e.log}, Launches: e, Clock: clock{e.boot},
			Source: "supd/" + e.args.Node + "/" + e.identity.NodeID,
			Inbox:  e.configs.startup.Journal.Inbox, Concurrency: executor.Window(e.set.Start.Concurrency), Poisoned: was.poisoned,
			Use: e.use, Upgrade: e.replace, Prober: e.prober, NotifySocket: keeper.NotifyPath(listener.Addr().String()), NodeID: e.identity.NodeID,
		},
		Host: e.client, Log: e.log,
		Engine: event.EngineStartedData{
			Version: versionText, PID: os.Getpid(), BaseSeq: was.base, Replayed: was.replayed,
		},
		Heard:       was.heard,
		Strangers:   e.strangers(was.broken),
		Ready:       e.ready,
		Drain:       e.prober.Drain,
		Decided:     e.decided,
		LoggerEvent: loggerNote,
		Reload:      e.reload, LoggerStarted: func() { e.tellLogger(false) },
	})
	if err := e.serve(listener); err != nil {
		return err
	}
	if err := e.journal.Start(); err != nil {
		return err
	}
	if e.args.Single {
		e.loop.Forward = e.forward
	}
	e.notify = newNotifier(os.Getenv, os.Getppid(), e.log)
	e.notify.start(e.loop)
	return e.runLoop()
}

// configuration finds what services are started with: what is applied, or
// what supd run left to be applied first.
func (e *engine) configuration(s *projector.State) error {
	startup := e.pending.set
	e.configs = newConfigurator(startup.Own())
	defer func() { setLog(e.set.Supd.LogLevel, e.set.Supd.LogFormat) }()
	if k := s.Supd.Keeper; k != nil && (k.Configured || e.args.Born) && s.Supd.Boot == e.boot && s.Config.Digest != "" {
		set, err := e.applied.load(s.Config.Digest)
		if err == nil {
			e.set = set.Own()
			_, e.launches = definitions(set, e.identity.Key)
			return nil
		}
		e.log.Warn("starting from the configuration that supd was started with", "error", err)
	}
	e.pending = e.resolved(startup, e.pending.raw)
	e.set, e.launches = e.pending.own, e.pending.launches
	return nil
}

// ready runs after recovery, on the loop's goroutine: a keeper's first engine
// applies the configuration that supd was started with. No later one does, nor
// the first of a keeper that no person started, so an edited file never reaches
// a running set by itself (R11).
func (e *engine) ready(c *executor.Core) error {
	if err := noneMissing(e.args.Places.Runtime); err != nil {
		return err
	}
	e.prober.Listen()
	r := e.pending
	e.pending = nil // it may be large
	k := c.State().Supd.Keeper
	if k == nil || c.State().Supd.Stopped {
		return nil
	}
	defer func() { e.notify.ready(k.PID, c.State()) }()
	if k.Configured || e.args.Born && c.State().Config.Digest != "" {
		e.tellAll(c.State())
		return nil
	}
	if scale := c.State().Config.Scale; r.launches == nil || len(scale) > 0 {
		r = e.scaledAtStart(r.set, r.raw, scale)
	}
	if err := e.applied.store(r.raw, r.digest); err != nil {
		return err
	}
	e.configs.next = r
	defer func() { e.configs.next = nil }()
	in := r.configure()
	if e.args.Single {
		in.Wanted = []string{config.Main} // whoever asks for a command wants it to run
	}
	return c.Step(in)
}

// decided looks at each new state.
func (e *engine) decided(c *executor.Core) error {
	e.notify.look(c.State())
	e.upgradeOver(c.State())
	if e.args.Single {
		return e.followMain(c)
	}
	return nil
}

// Launch implements executor.Launches with what is applied now.
func (e *engine) Launch(service, digest string) (event.Launch, error) {
	return e.launches.Launch(service, digest)
}

// serve opens the control socket to clients. Their requests wait until the
// loop runs.
func (e *engine) serve(l *net.UnixListener) error {
	var err error
	e.conn, err = nats.Connect("", nats.InProcessServer(inProcess{e.journal}), nats.Token(e.auth.InternalToken()),
		nats.Name("supd control"), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("cannot connect to the embedded server: %w", err)
	}
	e.bridge = control.NewBridge(control.BridgeConfig{
		Node: e.args.Node, Access: e.access(), Auth: e.auth, Dial: e.journal.InProcessConn, Denied: e.Denied, Log: e.log,
		Short: func(err error) {
			var errno syscall.Errno
			if errors.As(err, &errno) {
				e.loop.Short(errno, "control connection: "+err.Error())
			}
		},
		Eased: e.loop.Eased,
	})
	e.server, err = control.NewServer(control.ServerConfig{
		Node: e.args.Node, Conn: e.conn, Bridge: e.bridge, Handler: e, Inbox: e.configs.startup.Journal.Inbox, Log: e.log,
	})
	if err != nil {
		return err
	}
	e.network = &network{bridge: e.bridge, log: e.log}
	e.network.use(e.set.Listen, nil)
	e.socket = l.Addr().String()
	if err := openSocket(e.socket, e.set.Control); err != nil {
		return err
	}
	e.log.Info("serving", "socket", e.socket)
	go func() {
		if err := e.bridge.Serve(l); err != nil {
			e.log.Error("the control socket is closed", "error", err)
		}
	}()
	return nil
}

func (e *engine) access() control.Access {
	asInt := func(gid *uint32) *int {
		if gid == nil {
			return nil
		}
		n := int(*gid)
		return &n
	}
	onNetwork, err := networkAccess(e.set.Listen)
	if err != nil {
		e.log.Error("nobody is let in from the network", "error", err)
	}
	return control.Access{
		Owner: os.Geteuid(), AdminGroup: asInt(e.set.Control.AdminGID), ReadGroup: asInt(e.set.Control.ReadGID), Network: onNetwork,
	}
}

// openSocket lets those connect whom the configuration names. Who is turned
// away by the mode alone gets the kernel's refusal; who gets in is still
// checked by the bridge.
func openSocket(path string, c config.Control) error {
	group := c.AdminGID
	if group == nil {
		group = c.ReadGID
	}
	if group != nil {
		if err := os.Chown(path, -1, int(*group)); err != nil {
			return fmt.Errorf("cannot give the control socket to its group: %w", err)
		}
	}
	mode := os.FileMode(c.Mode)
	if c.ReadGID != nil && c.AdminGID != nil {
		mode |= 0o006 // two groups: the bridge tells them apart
	}
	return os.Chmod(path, mode)
}

// runLoop drives the loop to its end and closes in good order.
func (e *engine) runLoop() error {
	err := e.loop.Run(context.Background())
	e.prober.Close()
	var quit executor.QuitError
	if !errors.As(err, &quit) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	defer e.health.whenSick(func() { time.AfterFunc(sickWait, cancel) })()
	// The server is closed before the bridge: it delivers the last answers as it
	// ends, and the bridge has them on their way until then.
	_ = e.conn.FlushWithContext(ctx)
	e.network.close()
	e.server.Close()
	if err := e.journal.Retire(ctx); err != nil {
		// What is not durable is kept: the next supd of this boot goes on with it.
		e.log.Warn("the journal was not closed in good order", "error", err)
	}
	e.bridge.Close()
	if err := leave(e.client, e.code(quit), quit.KeepServices); err != nil {
		return err
	}
	if !quit.KeepServices {
		// The names are this process's own, so no lock in them keeps others apart.
		removeAll(e.args.Private)
	}
	return nil
}

// code is what supd ends with.
func (e *engine) code(quit executor.QuitError) uint8 {
	if e.args.Single && !quit.KeepServices {
		return uint8(e.single.code)
	}
	return exitcode.Done
}

func (e *engine) durable(seq event.Seq) {
	e.health.open()
	e.tidy.moved(seq)
	if e.loop != nil {
		e.loop.SetDurable(seq)
	}
}

func (e *engine) degraded(why string, since time.Time) {
	e.health.say("degraded: " + why)
	e.log.Warn("the journal does not take records; supervision goes on, kept", "why", why, "since", since)
}

func (e *engine) healed(d time.Duration, records int, method string) {
	e.health.say("")
	e.log.Info("the journal has caught up", "after", d.String(), "records", records, "method", method)
}

// damaged records what was found, and a base behind it, at which a fold of
// JOURNAL can start again (R9). The goroutine ends with the loop.
func (e *engine) damaged(d event.JournalDamagedData) {
	go func() {
		_ = e.loop.Do(context.Background(), func(c *executor.Core) error {
			if err := c.Step(policy.Note{Data: d}); err != nil {
				return err
			}
			return c.Step(policy.Base{})
		})
	}()
}

func (e *engine) forked(err error) {
	e.health.say("off: " + err.Error())
	e.log.Error("the journal on disk is not ours: nothing becomes durable any more; stop supd and look at it with supreplay verify", "error", err)
}
