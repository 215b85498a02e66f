package control_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"supd/journal/control"
	"supd/journal/control/controltest"
	"supd/journal/control/wire"
	"supd/journal/event"
)

func TestRoles(t *testing.T) {
	admin, read := 50, 60
	access := control.Access{Owner: 1000, AdminGroup: &admin, ReadGroup: &read}
	tests := []struct {
		name   string
		uid    int
		gid    int
		groups []int
		want   control.Role
	}{
		{"root", 0, 0, nil, control.RoleCommand},
		{"owner", 1000, 9, nil, control.RoleCommand},
		{"admin by gid", 7, 50, nil, control.RoleCommand},
		{"admin by group", 7, 9, []int{1, 50}, control.RoleCommand},
		{"both groups", 7, 60, []int{50}, control.RoleCommand},
		{"reader", 7, 9, []int{60}, control.RoleRead},
		{"other", 7, 9, []int{1}, control.RoleNone},
		{"root's group is nobody's", 7, 0, nil, control.RoleNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := control.Peer{Client: event.Client{UID: tt.uid, GID: tt.gid}, Groups: tt.groups}
			if got := access.Role(p); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
			if got := (control.Access{Owner: 1000}).Role(p); tt.uid == 7 && got != control.RoleNone {
				t.Errorf("without groups: %d", got)
			}
		})
	}
}

// TestHelperConnect is the child of TestOtherUsers: it connects and says how
// it went.
func TestHelperConnect(t *testing.T) {
	socket := os.Getenv("SUPD_TEST_SOCKET")
	if socket == "" {
		return // not a test by itself
	}
	nc, err := tryConnect(socket, inboxToken)
	if err != nil {
		fmt.Println("RESULT", err)
		return
	}
	defer nc.Close()
	_, err = nc.Request(fmt.Sprintf("sup.n1.ask.uid-%d.info", os.Getuid()), nil, 5*time.Second)
	fmt.Println("RESULT ask", err)
	_, err = nc.Request(fmt.Sprintf("sup.n1.cmd.uid-%d.web", os.Getuid()), commandJSON(t, someID), 300*time.Millisecond)
	fmt.Println("RESULT cmd", err)
}

// Real processes of real users, told apart by the kernel.
func TestOtherUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: needs root, to become other users")
	}
	admin, read := 50, 60
	rig := controltest.Start(t, controltest.Options{Access: &control.Access{Owner: 0, AdminGroup: &admin, ReadGroup: &read}})
	if err := os.Chmod(strings.TrimSuffix(rig.Socket, "/supd.sock"), 0o755); err != nil {
		t.Fatal(err)
	}
	binary := copySelf(t)
	tests := []struct {
		name   string
		groups []uint32
		want   []string
		not    []string
	}{
		{"other", nil, []string{"supd: denied: uid 1234 is not permitted"}, []string{"RESULT ask"}},
		{"reader", []uint32{60}, []string{"ask <nil>", "cmd nats: timeout"}, nil},
		{"admin", []uint32{7, 50}, []string{"ask <nil>", "cmd <nil>"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, binary, "-test.run", "^TestHelperConnect$", "-test.v")
			cmd.Env, cmd.Dir = append(os.Environ(), "SUPD_TEST_SOCKET="+rig.Socket), "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234, Groups: tt.groups}}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, w := range tt.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("no %q in\n%s", w, out)
				}
			}
			for _, n := range tt.not {
				if strings.Contains(string(out), n) {
					t.Errorf("%q in\n%s", n, out)
				}
			}
		})
	}
	denied(t, rig.Engine, "uid-1234", "connect")
	commands, _, _ := rig.Engine.Seen()
	if len(commands) != 1 || commands[0].Actor != "uid-1234" || commands[0].Client.UID != 1234 || commands[0].Client.GID != 1234 {
		t.Errorf("commands: %+v", commands)
	}
}

// copySelf puts the test binary where another user may run it.
func copySelf(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "supd-control-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/control.test", self, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir + "/control.test"
}

// say sends raw bytes and returns what comes back until the end.
func say(t *testing.T, socket string, text []byte) (answer string, err error) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	go conn.Write(text)
	b, err := io.ReadAll(conn)
	return string(b), err
}

func TestGarbage(t *testing.T) {
	rig := controltest.Start(t, root())
	noise := make([]byte, 200_000)
	rand.Read(noise)
	hello := "CONNECT {\"user\":\"" + inboxToken + "\"}\r\n"
	for name, text := range map[string][]byte{
		"noise":            noise,
		"http":             []byte("GET / HTTP/1.1\r\n\r\n"),
		"endless connect":  []byte("CONNECT {" + strings.Repeat(" ", 100_000)),
		"bad json":         []byte("CONNECT {]\r\n"),
		"not first":        []byte("PING\r\n"),
		"noise after":      append([]byte(hello), noise...),
		"second connect":   []byte(hello + "CONNECT {}\r\n"),
		"long line":        []byte(hello + "SUB " + strings.Repeat("a", 5000) + " 1\r\n"),
		"negative size":    []byte(hello + "PUB a -1\r\n"),
		"huge size":        []byte(hello + "PUB a 99999999\r\n"),
		"overflowing size": []byte(hello + "PUB a 18446744073709551617\r\n"),
		"header > total":   []byte(hello + "HPUB a 10 5\r\n"),
		"bad payload end":  []byte(hello + "PUB a 1\r\nxyz\r\n"),
		"empty token":      []byte(hello + "SUB a..b 1\r\n"),
		"cluster protocol": []byte(hello + "RS+ $G a\r\n"),
		"leaf protocol":    []byte(hello + "LS+ a\r\n"),
		"account switch":   []byte(hello + "A+ $SYS\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := say(t, rig.Socket, text)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatalf("the connection stayed open; it answered %q", answer)
			}
			if !strings.HasPrefix(answer, "INFO {") {
				t.Errorf("got %q", answer)
			}
		})
	}
	connect(t, rig.Socket, inboxToken) // the bridge is well
}

// A client cannot bring its own rights.
func TestCredentialsAreReplaced(t *testing.T) {
	opts, actor := reader()
	rig := controltest.Start(t, opts)
	internal := rig.Auth.InternalToken()
	for _, fields := range []string{
		`"auth_token":"` + internal + `"`, `"AUTH_TOKEN":"` + internal + `"`, `"auth_token":"x","auth_token":"` + internal + `"`,
		`"user":"supd","pass":"` + internal + `"`, `"jwt":"x","sig":"y","nkey":"z"`, `"account":"$SYS","new_account":true`,
	} {
		conn, err := net.Dial("unix", rig.Socket)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprintf(conn, "CONNECT {%s}\r\nPUB sup.n1.cmd.uid-0.web 2\r\n{}\r\nPING\r\n", fields)
		var answer strings.Builder
		for r := bufio.NewReader(conn); !strings.Contains(answer.String(), "PONG"); {
			line, err := r.ReadString('\n')
			answer.WriteString(line)
			if err != nil {
				break
			}
		}
		conn.Close()
		if !strings.Contains(answer.String(), "Permissions Violation") {
			t.Errorf("%s: got %s", fields, answer.String())
		}
	}
	denied(t, rig.Engine, actor, "sup.n1.cmd.uid-0.web")
	for _, hello := range []string{"CONNECT {}", `CONNECT {"auth_token":"guess"}`, `CONNECT {"user":"supd"}`} {
		conn, err := rig.NATS.InProcessConn()
		if err != nil {
			t.Fatal(err)
		}
		go fmt.Fprint(conn, hello+"\r\nPING\r\n")
		if answer, _ := io.ReadAll(conn); !strings.Contains(string(answer), "Authorization Violation") {
			t.Errorf("%s: the server answered %s", hello, answer)
		}
		conn.Close()
	}
}

// A crowd of one user leaves room for another; half-open handshakes end.
func TestCrowd(t *testing.T) {
	var uid atomic.Int32
	uid.Store(1000)
	rig := controltest.Start(t, asUsers(&uid))
	var conns []net.Conn
	var mu sync.Mutex
	var wg sync.WaitGroup
	var busy atomic.Int32
	for range 1000 {
		wg.Go(func() {
			conn, err := net.Dial("unix", rig.Socket)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			r := bufio.NewReader(conn)
			r.ReadString('\n')
			if line, _ := r.ReadString('\n'); strings.Contains(line, wire.Refusal+wire.RefusedBusy) {
				busy.Add(1)
			}
		})
	}
	eventually(t, "700 of 1000 are told busy", func() bool { return busy.Load() >= 700 })
	uid.Store(0)
	connect(t, rig.Socket, "rootsinbox") // in, while the crowd stands
	mu.Lock()
	for _, c := range conns {
		c.Close()
	}
	mu.Unlock()
	wg.Wait()
	uid.Store(1000)
	eventually(t, "room again", func() bool {
		nc, err := tryConnect(rig.Socket, inboxToken)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
}

// A handshake that stops half way ends by itself.
func TestHalfOpenHandshake(t *testing.T) {
	t.Parallel()
	rig := controltest.Start(t, root())
	if _, err := say(t, rig.Socket, []byte("CONNECT {")); err != nil {
		t.Errorf("it does not end: %v", err)
	}
}

// Answers to a client that has gone are dropped, and nobody else hears them.
func TestVanishedClient(t *testing.T) {
	engine := controltest.NewEngine()
	engine.Hold = make(chan struct{})
	opts := root()
	opts.Handler = engine
	rig := controltest.Start(t, opts)
	nc := connect(t, rig.Socket, inboxToken)
	if err := nc.PublishRequest("sup.n1.cmd.uid-0.web", "_INBOX."+inboxToken+".x", commandJSON(t, someID)); err != nil {
		t.Fatal(err)
	}
	nc.Flush()
	eventually(t, "command at the handler", func() bool { return rig.Server.Stats().Commands.Load() == 1 })
	nc.Close()
	eventually(t, "the inbox is gone", func() bool {
		other, err := tryConnect(rig.Socket, "otherinbox")
		if err != nil {
			return false
		}
		defer other.Close()
		return rig.Bridge.Open() == 2 // this one, both of its ends
	})
	close(engine.Hold)
	eventually(t, "answers are dropped", func() bool { return rig.Server.Stats().Dropped.Load() == 2 })
}

func BenchmarkAsk(b *testing.B) {
	rig := controltest.Start(b, root())
	nc, err := tryConnect(rig.Socket, inboxToken)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	for b.Loop() {
		if _, err := nc.Request("sup.n1.ask.uid-0.info", nil, 5*time.Second); err != nil {
			b.Fatal(err)
		}
	}
}

// poorListener has no descriptors for a while.
type poorListener struct {
	net.Listener
	left atomic.Int64
}

func (l *poorListener) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// A bridge without descriptors says so each time, and once that it is over.
func TestShortOfDescriptors(t *testing.T) {
	under, err := net.Listen("unix", filepath.Join(t.TempDir(), "sock"))
	if err != nil {
		t.Fatal(err)
	}
	l := &poorListener{Listener: under}
	l.left.Store(3)
	var short, eased atomic.Int64
	b := control.NewBridge(control.BridgeConfig{
		Dial: func() (net.Conn, error) { return nil, errors.New("none") },
		Short: func(err error) {
			if errors.Is(err, syscall.EMFILE) {
				short.Add(1)
			}
		},
		Eased: func() { eased.Add(1) },
	})
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	for range 2 {
		conn, err := net.Dial("unix", under.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Read(make([]byte, 1)) // until it is turned away
		conn.Close()
	}
	b.Close()
	if err := <-served; err != nil || short.Load() != 3 || eased.Load() != 1 {
		t.Errorf("%v; short %d times, eased %d times", err, short.Load(), eased.Load())
	}
}
