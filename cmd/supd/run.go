package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"supd/cmd/internal/config"
	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/folders"
	"supd/cmd/internal/spelling"
	"supd/executor/keeper"
	"supd/journal"
	"supd/journal/event"
)

// places are the folders one supd works with.
type places struct{ Config, State, Runtime string }

func runCommand() *cobra.Command {
	var at places
	var moved, fresh bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run services in the foreground (the default)",
		Long: `Runs the services of a configuration in the foreground. The configuration is
checked first: with an error in it nothing starts.

TERM and INT stop the services, then supd; a second one does not wait for
them. HUP applies the configuration as it is then, like supctl apply. After a
crash of supd its services are found again.

With a command behind -- it runs that one, as the service main, and no file:
it copies what main writes, sends it the signals TERM, INT, HUP, QUIT, USR1 and
USR2 that it gets itself, and ends with main's exit code (128+n for signal n,
127 and 126 if there is nothing to execute). Unless it is PID 1 or told where,
it keeps state in folders of its own, run-PID, and removes them at the end.`,
		Example: `  supd run -c /etc/supd
  supd run -c ./supd.toml --state-dir ./state --runtime-dir ./run
  supd run -- nginx -g 'daemon off;'`,
		Args: commandArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			how := runOptions{moved: moved, fresh: fresh, command: args}
			if len(args) == 0 {
				return run(at, how)
			}
			given := cmd.Flags().Changed
			if given("config") {
				return errors.New("give either a configuration or a command")
			}
			return runSingle(at, how, given("state-dir"), given("runtime-dir"))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&at.Config, "config", "c", folders.Config(), "configuration file or folder")
	f.StringVar(&at.State, "state-dir", folders.State(), "folder for journal and output")
	f.StringVar(&at.Runtime, "runtime-dir", folders.Runtime(), "folder for socket and locks")
	f.BoolVar(&moved, "moved", false, "accept a state folder that was moved here")
	f.BoolVar(&fresh, "new-identity", false, "accept a copied state folder as a node of its own")
	cmd.MarkFlagsMutuallyExclusive("moved", "new-identity")
	return cmd
}

// load reads a configuration and prints what is wrong with it.
func load(path string) (*config.Set, error) {
	host, err := thisHost()
	if err != nil {
		return nil, failure{exitcode.Failed, err}
	}
	set, problems := config.Load(path, host)
	if len(problems) > 0 {
		fmt.Fprint(os.Stderr, config.Format(problems))
	}
	if config.Failed(problems) {
		return nil, failure{exitcode.Configuration, fmt.Errorf("cannot use configuration %s: mend the errors above, then run `supd check -c %s`", path, path)}
	}
	return set, nil
}

// thisHost is what configurations are resolved against.
func thisHost() (config.Host, error) {
	host, err := config.ThisHost(originalLimits())
	if err != nil {
		return host, err
	}
	if host.Controllers, err = keeper.Controllers(""); err != nil {
		host.NoController = err.Error() // it matters to those alone who set such a limit
	}
	return host, nil
}

// originalLimits are the limits that Go changed before main: services get
// them as supd was started.
func originalLimits() []event.LaunchLimit {
	var now unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &now); err != nil {
		return nil
	}
	// The runtime raises the soft limit to the hard one, and puts it back in
	// what it executes. The usual soft limit is the portable select(2) limit.
	soft := min(now.Max, 1024)
	return []event.LaunchLimit{{Resource: unix.RLIMIT_NOFILE, Soft: soft, Hard: now.Max}}
}

// steering are verbs that people give to supd and mean for supctl.
var steering = []string{
	"start", "stop", "restart", "status", "reload", "signal", "plan", "apply", "logs", "events", "why", "history", "info", "scale", "graph",
	"shutdown", "upgrade",
}

// own are supd's own verbs.
var own = []string{"run", "check", "version"}

// commandArgs takes a command behind -- and nothing else.
func commandArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
		if slices.Contains(steering, args[0]) {
			return fmt.Errorf("cannot understand %q: a running supd is steered with supctl, as in `supctl %s`", args[0], strings.Join(args, " "))
		}
		if near := spelling.Nearest(args[0], own); near != "" {
			return fmt.Errorf("cannot understand %q: did you mean `supd %s`?", args[0], near)
		}
		return fmt.Errorf("cannot understand %q: a command goes behind --, as in `supd run -- %s`", args[0], args[0])
	}
	return nil
}

// runOptions say how to run beside where.
type runOptions struct {
	moved, fresh bool
	command      []string // behind --: the one service
	private      []string // folders made for this run
}

// run supervises what the configuration names.
func run(at places, how runOptions) error {
	set, err := load(at.Config)
	if err != nil {
		return err
	}
	return supervise(at, set, how)
}

// runSingle supervises one command.
func runSingle(at places, how runOptions, stateGiven, runtimeGiven bool) error {
	set, err := commandSet(how.command)
	if err != nil {
		return err
	}
	at.Config = ""
	if at, how.private, err = at.privatePlaces(stateGiven, runtimeGiven); err != nil {
		return failure{exitcode.Failed, err}
	}
	err = supervise(at, set, how)
	removeAll(how.private)
	return err
}

// supervise prepares everything that may fail in front of a person, then becomes
// the keeper: same pid, but a fresh and small process.
func supervise(at places, set *config.Set, how runOptions) error {
	at, err := at.prepare()
	if err != nil {
		return failure{exitcode.Failed, err}
	}
	lock, left, err := acquire(at.Runtime)
	if err != nil {
		var held *keeper.LockedError
		if errors.As(err, &held) {
			err = fmt.Errorf("%w; stop it with `supctl --socket %s shutdown`, or give another --runtime-dir",
				err, filepath.Join(at.Runtime, folders.SocketName))
		}
		return failure{exitcode.Failed, err}
	}
	args, err := prepareKeeper(at, set, how)
	if err != nil {
		left.Refuse()
		return failure{exitcode.Failed, err}
	}
	return failure{exitcode.Failed, becomeKeeper(args, lock, left)}
}

// prepareKeeper makes sure of the state folder and leaves there what the first
// engine applies.
func prepareKeeper(at places, set *config.Set, how runOptions) (keeperArgs, error) {
	id, err := journal.Identify(journal.Config{
		StateDir: at.State, RuntimeDir: at.Runtime, Node: set.Supd.Node, Moved: how.moved, NewIdentity: how.fresh,
		LockWait: stateWindow,
	})
	if err != nil {
		return keeperArgs{}, err
	}
	if err := tryListen(set.Listen); err != nil {
		return keeperArgs{}, fmt.Errorf("%w; see who has the address with `ss -ltnp`, or change listen.address", err)
	}
	if err := (applied{state: at.State, runtime: at.Runtime}).prepare(set); err != nil {
		return keeperArgs{}, err
	}
	args := keeperArgs{
		Places: at, SocketMode: set.Control.Mode, CgroupName: "supd-" + id.NodeID[:8],
		Node: set.Supd.Node, LogLevel: set.Supd.LogLevel, LogFormat: set.Supd.LogFormat,
		Output: outputDir(at, set), MaxTotal: set.Output.MaxTotal,
		Single: len(how.command) > 0, Private: how.private, Watched: watched(),
	}
	args.Console = consoleMode(set, args.Single, args.Watched)
	return args, nil
}

// stateWindow is how long the engine of a keeper that was killed may still hold
// the state folder: it ends once it has handed over.
const stateWindow = 2 * time.Second

// lockWindow is how long a predecessor that is just ending may hold the lock.
const lockWindow = 500 * time.Millisecond

// acquire takes the runtime folder: its lock, and what a keeper that was killed
// has left there. From a keeper that an orphaned engine started it takes over,
// lock and all; one that a person started it leaves alone (R5).
func acquire(dir string) (*os.File, *keeper.Inheritance, error) {
	for end := time.Now().Add(lockWindow); ; time.Sleep(5 * time.Millisecond) {
		lock, err := keeper.Lock(dir)
		var held *keeper.LockedError
		switch {
		case err == nil:
			left, err := inherit(dir)
			if err != nil {
				lock.Close()
				return nil, nil, err
			}
			return lock, left, nil
		case errors.As(err, &held) && held.Born:
			left, err := keeper.TakeOver(dir)
			if err != nil {
				return nil, nil, err
			}
			if left != nil && left.FromKeeper() {
				left.Stop()
				return nil, left, nil
			}
			left.Refuse() // the keeper died meanwhile, its engine gives: the lock is free, and has to be ours first
		case held == nil || time.Now().After(end):
			return nil, nil, err
		}
	}
}

// inherit takes over from an orphaned engine, which holds the state folder until
// then; nil if there is none. The caller has the lock, so nobody else can.
func inherit(dir string) (*keeper.Inheritance, error) {
	left, err := keeper.TakeOver(dir)
	if err != nil || left == nil {
		return nil, err
	}
	if left.Accept() == nil {
		return left, nil
	}
	// It was killed before it heard that we go on, or it did not wait and offers
	// the same again. In the first case nobody is there and what came is ours.
	again, err := keeper.TakeOver(dir)
	switch {
	case err == nil && again == nil:
		return left, nil
	case err == nil:
		err = again.Accept()
	}
	left.Refuse()
	if err != nil {
		again.Refuse()
		return nil, err
	}
	return again, nil
}

// prepare makes the folders. Services and their users never write there.
func (p places) prepare() (places, error) {
	for _, path := range []*string{&p.Config, &p.State, &p.Runtime} {
		if *path == "" {
			continue // a command has no configuration
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return p, fmt.Errorf("cannot find %s: %w", *path, err)
		}
		*path = abs
	}
	if n := len(filepath.Join(p.Runtime, folders.SocketName)); n > 107 {
		return p, fmt.Errorf("cannot use runtime folder %s: the socket's path would have %d bytes, the kernel takes 107; choose a shorter --runtime-dir", p.Runtime, n)
	}
	for _, need := range []struct{ dir, flag string }{{p.State, "--state-dir"}, {p.Runtime, "--runtime-dir"}} {
		if err := os.MkdirAll(need.dir, 0o755); err != nil {
			return p, fmt.Errorf("cannot create folder: %w; choose another %s", err, need.flag)
		}
		if err := ownFolder(need.dir); err != nil {
			return p, fmt.Errorf("%w; mend that, or choose another %s", err, need.flag)
		}
	}
	return p, nil
}

// becomeKeeper hands the lock to the keeper across execve: to itself (R5).
func becomeKeeper(args keeperArgs, lock *os.File, left *keeper.Inheritance) error {
	b, err := json.Marshal(args)
	if err != nil {
		return err
	}
	boot := keeper.Boot{Args: b, Estate: keeper.NewEstate()}
	if left != nil {
		boot.Estate = left.Estate
	}
	if lock == nil {
		err = left.Accept()
	} else {
		boot.Estate.Lock = int(lock.Fd())
	}
	if err == nil {
		err = boot.Become("/proc/self/exe", []string{"supd", modeKeeper}, os.Environ())
	}
	runtime.KeepAlive(lock) // the collector would close it, and with it end the lock
	return err
}

func outputDir(at places, set *config.Set) string {
	if set.Output.Directory != "" {
		return set.Output.Directory
	}
	return filepath.Join(at.State, "output")
}

// keeperArgs travel from run to the keeper, engine and logger, in memory files.
type keeperArgs struct {
	Places     places
	SocketMode uint32
	CgroupName string
	Node       string
	LogLevel   string
	LogFormat  string
	Output     string
	MaxTotal   int64
	Console    string   // how service output is copied to supd's own
	Watched    bool     `json:",omitempty"` // the console's auto is on
	Single     bool     `json:",omitempty"` // the one service main; supd ends with it
	Private    []string `json:",omitempty"` // folders to remove after an orderly end
	Born       bool     `json:",omitempty"` // an orphaned engine started the keeper, no person
}

// helperArgs are what the keeper gave to an engine or a logger.
func helperArgs(fd int) (a keeperArgs, err error) {
	b, err := keeper.ReadArgs(fd)
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	return a, err
}

func keeperMain() int {
	debug.SetGCPercent(smallHeap)
	calmMonitor()
	boot, err := keeper.ReadBoot()
	var a keeperArgs
	if err == nil {
		err = json.Unmarshal(boot.Args, &a)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "supd:", err)
		return exitcode.Usage
	}
	var finish time.Duration
	if a.Console == consolePlain {
		finish = consoleFinish // a pipe's reader is to get the whole output
	}
	return keeper.Run(keeper.Config{
		FinishLimit: finish, Settings: keeperSettings,
		EngineArgs: []string{"supd", modeEngine},
		LoggerArgs: []string{"supd", modeLogger},
		HelperArgs: boot.Args, Boot: boot, Born: a.Born,
		RuntimeDir: a.Places.Runtime, SocketMode: os.FileMode(a.SocketMode),
		SocketPath: filepath.Join(a.Places.Runtime, folders.SocketName),
		CgroupName: a.CgroupName, Version: versionText, Log: newLog(a, modeKeeper),
	})
}
