package keeper

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// The test binary is also the keeper, its engine and its logger. Engine and
// logger hand their socket to the test, which plays their part, and then only
// wait to be killed.
const (
	envRole = "KEEPER_TEST_ROLE"
	envDir  = "KEEPER_TEST_DIR"
	envRoot = "KEEPER_TEST_CGROUP_ROOT"
	envName = "KEEPER_TEST_CGROUP_NAME"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(envDir)
	switch {
	case len(os.Args) > 1 && os.Args[1] == "engine":
		playedElsewhere(dir, "engine", strings.Join(os.Args[2:], " "))
	case len(os.Args) > 1 && os.Args[1] == "logger":
		playedElsewhere(dir, "logger", "")
	case os.Getenv(envRole) == "keeper":
		go endWithTest(os.Getppid())
		boot, err := ReadBoot()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(5)
		}
		os.Exit(Run(Config{
			EngineArgs: []string{"supd", "engine"}, LoggerArgs: []string{"supd", "logger"},
			Boot: boot, RuntimeDir: dir, SocketPath: filepath.Join(dir, "supd.sock"), Version: "test",
			CgroupName: os.Getenv(envName), CgroupRoot: os.Getenv(envRoot),
			Log:          slog.New(slog.NewTextHandler(os.Stderr, nil)),
			restartLimit: 10 * time.Millisecond, haltEvery: 100 * time.Millisecond,
		}))
	}
	goleak.VerifyTestMain(m)
}

// endWithTest ends a keeper whose test was killed from outside: nobody else would.
func endWithTest(test int) {
	for os.Getppid() == test {
		time.Sleep(time.Second)
	}
	os.Exit(6)
}

// playedElsewhere gives the socket to the test and waits for the test's end.
func playedElsewhere(dir, who, args string) {
	c, err := net.Dial("unix", filepath.Join(dir, who))
	if err != nil {
		os.Exit(3)
	}
	u := c.(*net.UnixConn)
	fmt.Fprintln(os.Stderr, who, os.Getpid(), "is there")
	if _, _, err := u.WriteMsgUnix(fmt.Appendf(nil, "%d %s", os.Getpid(), args), unix.UnixRights(3), nil); err != nil {
		os.Exit(4)
	}
	unix.Close(3)
	_, _ = io.Copy(io.Discard, u)
	os.Exit(0)
}

// stage is a keeper in a process of its own, and the test as its engine and logger.
type stage struct {
	t      testing.TB
	dir    string
	name   string // of the cgroup folder
	root   string // cgroup root given to the keeper
	keeper *exec.Cmd
	dead   chan struct{} // closed when the keeper is
	stderr *os.File

	engines, loggers *net.UnixListener
	lastEngine       net.Conn
	lastLogger       net.Conn

	client    *Client
	enginePID int
	safe      bool
	table     Table
	log       []Event // all that were received
	logger    *wire.LoggerConn
	loggerPID int
}

// words returns the keeper's log. It is a file: engine and logger hold it too,
// and a pipe would keep Wait from returning when the keeper is dead.
func (s *stage) words() string {
	b, _ := os.ReadFile(s.stderr.Name())
	return string(b)
}

// newStage starts a keeper; root is Config.CgroupRoot.
func newStage(t testing.TB, root string) *stage {
	t.Helper()
	var r [4]byte
	_, _ = rand.Read(r[:])
	s := &stage{t: t, root: root, name: fmt.Sprintf("supd-%x", r)}
	var err error
	// Not t.TempDir: names of sockets are at most 107 bytes long.
	if s.dir, err = os.MkdirTemp("", "keeper"); err != nil {
		t.Fatal(err)
	}
	for who, l := range map[string]**net.UnixListener{"engine": &s.engines, "logger": &s.loggers} {
		if *l, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(s.dir, who), Net: "unix"}); err != nil {
			t.Fatal(err)
		}
	}
	if s.stderr, err = os.OpenFile(filepath.Join(s.dir, "stderr"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	s.startKeeper()
	return s
}

func (s *stage) startKeeper() {
	s.t.Helper()
	s.keeper = exec.Command("/proc/self/exe")
	s.keeper.Env = append(os.Environ(), envRole+"=keeper", envDir+"="+s.dir, envRoot+"="+s.root, envName+"="+s.name)
	s.keeper.Stderr = s.stderr
	fd, err := unix.MemfdCreate("supd-keeper", unix.MFD_CLOEXEC)
	must(s.t, err)
	boot := os.NewFile(uintptr(fd), "boot")
	defer boot.Close()
	must(s.t, Boot{Args: []byte(`{}`), Estate: NewEstate()}.write(fd))
	s.keeper.ExtraFiles = []*os.File{boot}
	if err := s.keeper.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.dead = make(chan struct{})
	go func(c *exec.Cmd, dead chan struct{}) {
		_ = c.Wait()
		close(dead)
	}(s.keeper, s.dead)
	s.meetEngine()
	s.meetLogger()
}

func (s *stage) end() {
	if s.client != nil {
		_ = s.client.Close()
		for range s.client.Events() {
		}
	}
	if s.logger != nil {
		_ = s.logger.Close()
	}
	if s.keeper != nil {
		s.killKeeper()
	}
	for _, c := range []net.Conn{s.lastEngine, s.lastLogger} {
		if c != nil {
			c.Close()
		}
	}
	s.engines.Close()
	s.loggers.Close()
	if s.table.Info.Cgroup != "" {
		g := cgroup{s.table.Info.Cgroup, cgroupFeatures(s.table.Info.Cgroup)}
		g.kill(&report{})
		g.waitEmpty(5 * time.Second)
		g.remove()
	}
	s.killTagged()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(s.words(), bad) {
			s.t.Errorf("the keeper's log tells of %q", bad)
		}
	}
	if s.t.Failed() {
		s.t.Logf("keeper's log:\n%s", s.words())
	}
	s.stderr.Close()
	_ = unix.Unmount(filepath.Join(s.dir, pinsFolder), unix.MNT_DETACH)
	os.RemoveAll(s.dir)
}

// killTagged ends services started without a cgroup: all ids hold the stage's name.
func (s *stage) killTagged() {
	for range 100 {
		left := 0
		snap := takeSnapshot()
		for instance, pids := range snap.tags() {
			if strings.HasPrefix(instance, s.name) {
				for _, pid := range pids {
					if alive(pid) {
						left++
						_ = snap.signalChecked(pid, unix.SIGKILL)
					}
				}
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *stage) killKeeper() {
	_ = s.keeper.Process.Kill()
	<-s.dead
}

// meet accepts the next engine or logger and returns its socket to the keeper.
func (s *stage) meet(l *net.UnixListener, last *net.Conn) (fd, pid int, args string) {
	s.t.Helper()
	_ = l.SetDeadline(time.Now().Add(time.Minute))
	c, err := l.AcceptUnix()
	if err != nil {
		s.t.Fatalf("nobody came: %v\n%s", err, s.words())
	}
	if *last != nil {
		(*last).Close()
	}
	*last = c
	var b [256]byte
	var oob [64]byte
	n, oobn, _, _, err := c.ReadMsgUnix(b[:], oob[:])
	if err != nil {
		s.t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		s.t.Fatalf("no socket came: %v", err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		s.t.Fatalf("no socket came: %v", err)
	}
	if _, err := fmt.Sscanf(string(b[:n]), "%d", &pid); err != nil {
		s.t.Fatal(err)
	}
	return fds[0], pid, string(b[:n])
}

func (s *stage) meetEngine() {
	s.t.Helper()
	if s.client != nil {
		_ = s.client.Close()
		for range s.client.Events() {
		}
	}
	fd, pid, args := s.meet(s.engines, &s.lastEngine)
	var err error
	if s.client, err = Connect(fd); err != nil {
		s.t.Fatal(err)
	}
	s.enginePID, s.safe = pid, strings.Contains(args, "--safe")
	t, ok := s.next().(Table)
	if !ok {
		s.t.Fatal("the first event is not the table")
	}
	s.table = t
}

func (s *stage) meetLogger() {
	s.t.Helper()
	if s.logger != nil {
		_ = s.logger.Close()
	}
	fd, pid, _ := s.meet(s.loggers, &s.lastLogger)
	var err error
	if s.logger, err = wire.NewLoggerConn(fd); err != nil {
		s.t.Fatal(err)
	}
	s.loggerPID = pid
}

// next returns the next event.
func (s *stage) next() Event {
	s.t.Helper()
	select {
	case e, ok := <-s.client.Events():
		if !ok {
			s.t.Fatalf("the keeper is gone: %v\n%s", s.client.Err(), s.words())
		}
		s.log = append(s.log, e)
		return e
	case <-time.After(time.Minute):
		s.t.Fatalf("no event came; the last were %+v", s.log[max(0, len(s.log)-5):])
		return nil
	}
}

// await returns the next event of type E about the instance, and drops others.
func await[E Event](s *stage, instance string) E {
	s.t.Helper()
	for {
		e, ok := s.next().(E)
		if ok && about(e) == instance {
			return e
		}
	}
}

// about returns the instance an event tells about.
func about(e Event) string {
	switch e := e.(type) {
	case Parked:
		return e.Slot.Instance
	case ParkFailed:
		return e.Slot.Instance
	case Execed:
		return e.Slot.Instance
	case ExecFailed:
		return e.Slot.Instance
	case Exited:
		return e.Slot.Instance
	case Dropped:
		return e.Slot.Instance
	case TreeEmpty:
		return e.Slot.Instance
	case Adopted:
		return e.Slot.Instance
	case Drained:
		return e.Slot.Instance
	case Unchanged:
		return e.Slot.Instance
	case Ran:
		return e.Slot.Instance
	case Ready:
		return e.Slot.Instance
	case Unknown:
		return e.Instance
	case Signaled:
		return e.Operation.Instance
	case Swept:
		return e.Operation.Instance
	}
	return ""
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stage) instance() string { return s.name + "-" + uuid.Must(uuid.NewV7()).String()[9:] }

// program is a launch of one program with the environment tests need.
func program(instance string, argv ...string) Launch {
	return Launch{Paths: []string{argv[0]}, Args: argv, Env: []string{"PATH=/usr/bin:/bin", tag + instance}, Umask: 0o22}
}

// shell is a launch of a shell script.
func shell(instance, script string) Launch { return program(instance, "/bin/sh", "-c", script) }

// park parks a launch and returns the instance.
func (s *stage) park(launch func(instance string) Launch) string {
	s.t.Helper()
	i := s.instance()
	must(s.t, s.client.Park(Park{Service: "svc", Instance: i, Cgroup: s.root != "none", Launch: launch(i)}))
	return i
}

// run parks and opens a shell script and waits for its exec.
func (s *stage) run(script string) (string, Slot) {
	s.t.Helper()
	i := s.park(func(i string) Launch { return shell(i, script) })
	await[Parked](s, i)
	must(s.t, s.client.Open(i))
	return i, await[Execed](s, i).Slot
}

// waitFile waits for a file that a service makes.
func waitFile(t testing.TB, path string) {
	t.Helper()
	waitFor(t, "file "+path, func() bool { _, err := os.Stat(path); return err == nil })
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func kill(t testing.TB, pid int) {
	t.Helper()
	must(t, syscall.Kill(pid, syscall.SIGKILL))
}
