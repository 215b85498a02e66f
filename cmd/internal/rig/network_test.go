package rig_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/journal/control/controltest"
	"supd/journal/event"
)

// remote is a supd that listens on the loopback with TLS.
type remote struct {
	*rig.Rig
	t              *testing.T
	ca             string // file
	port           int
	admin, auditor string // public keys
	adminSeed      string
	auditorSeed    string
}

func startRemote(t *testing.T) *remote {
	t.Helper()
	authority := controltest.NewAuthority(t)
	r := &remote{t: t, ca: controltest.Write(t, "ca.pem", authority.PEM), port: freePort(t)}
	r.admin, r.adminSeed = controltest.User(t)
	r.auditor, r.auditorSeed = controltest.User(t)
	r.Rig = rig.New(t, "")
	cert, key := authority.Issue(t, time.Now().Add(time.Hour))
	for name, text := range map[string][]byte{"cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(r.Dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.listen(r.port, r.admin, r.auditor)
	r.Run()
	return r
}

// listen writes a configuration with these keys.
func (r *remote) listen(port int, admin, auditor string) {
	keys := ""
	if admin != "" {
		keys += fmt.Sprintf("{ key = %q, role = 'command' },", admin)
	}
	if auditor != "" {
		keys += fmt.Sprintf("{ key = %q, role = 'read' },", auditor)
	}
	r.Configure(webConfig + fmt.Sprintf(`
[listen]
address = "127.0.0.1:%d"
tls = { cert = "DIR/cert.pem", key = "DIR/key.pem" }
nkeys = [%s]
`, port, keys))
}

func (r *remote) url() string { return fmt.Sprintf("tls://127.0.0.1:%d", r.port) }

func (r *remote) as(seed string, args ...string) rig.Result {
	return r.SupctlAt(r.url(), append(args, "--nkey", seed, "--tlsca", r.ca)...)
}

// TestNetwork: supctl does over the network what it does at home, as far as
// its key may, and the journal tells who it was.
func TestNetwork(t *testing.T) {
	t.Parallel()
	r := startRemote(t)
	r.as(r.adminSeed, "restart", "web").OK()
	r.as(r.auditorSeed, "status", "web").OK()
	r.as(r.auditorSeed, "events", "-n", "1").OK()

	r.Kill(r.Engine())
	r.Until("the next engine listens", func() bool { return r.as(r.auditorSeed, "info").Code == exitcode.Done })
	var info event.Info
	r.as(r.auditorSeed, "info", "-o", "json").OK().JSON(&info)
	if info.Actor != "nkey-"+r.auditor || info.Listen == nil || info.Listen.Health != "ok" {
		t.Errorf("info says actor %s, %+v", info.Actor, info.Listen)
	}
	far := func(args ...string) rig.Result {
		return r.SupreplayOf(r.url(), append(args, "--nkey", r.auditorSeed, "--tlsca", r.ca)...)
	}
	r.Until("the journal tells of it over the network", func() bool {
		return strings.Contains(far("timeline", "--kind", "command.accepted", "-o", "json").OK().Out, "nkey-"+r.admin)
	})
	if res := far("at", "1000000"); res.Code == exitcode.Done || !strings.Contains(res.Err, "1000000") {
		t.Errorf("at over the network: %d, %s%s", res.Code, res.Out, res.Err)
	}
	far("why", "web").OK()
	far("verify").OK()
	if res := r.SupreplayOf(r.url(), "timeline").Is(exitcode.Unreachable); !strings.Contains(res.Err, "--nkey") { // no key
		t.Errorf("without a key it says %s", res.Err)
	}
	if res := r.SupreplayOf("nats://192.0.2.1:4222", "timeline", "--nkey", r.auditorSeed).Is(exitcode.Unreachable); !strings.Contains(res.Err, "tls://") {
		t.Errorf("without TLS it says %s", res.Err)
	}
	r.as(r.auditorSeed, "stop", "web").Is(exitcode.NotPermitted)
	_, stranger := controltest.User(t)
	if res := r.as(stranger, "status").Is(exitcode.NotPermitted); !strings.Contains(res.Err, "listen.nkeys") {
		t.Errorf("a stranger is told %s", res.Err)
	}
	r.SupctlAt(r.url(), "status", "--tlsca", r.ca).Is(exitcode.NotPermitted)                       // no key
	r.SupctlAt(r.url(), "status", "--nkey", r.adminSeed).Is(exitcode.Unreachable)                  // no trust
	r.SupctlAt("nats://192.0.2.1:4222", "status", "--nkey", r.adminSeed).Is(exitcode.NotPermitted) // no TLS
	r.Shutdown()
	h := r.History()
	found := false
	for _, e := range h {
		d, ok := e.Record.Data.(event.CommandAcceptedData)
		if found = found || ok && d.Verb == event.VerbRestart && e.Record.Actor == "nkey-"+r.admin && d.Client == nil && strings.HasPrefix(d.Remote, "127.0.0.1:"); found {
			break
		}
	}
	if !found {
		t.Error("the journal does not say which key restarted web")
	}
	denials := map[string]int{}
	for _, e := range h {
		if _, ok := e.Record.Data.(event.AccessDeniedData); ok {
			denials[e.Record.Actor]++
		}
	}
	if denials["network"] == 0 || denials["nkey-"+r.auditor] == 0 {
		t.Errorf("denials are of %v", denials)
	}
}

// TestNetworkLive: an apply moves the listener and takes keys away; who still
// may stays connected.
func TestNetworkLive(t *testing.T) {
	t.Parallel()
	r := startRemote(t)
	before := r.UntilPhase("late", event.PhaseRunning)
	follow := exec.CommandContext(t.Context(), r.Programs.Supctl, "events", "-f", "--socket", r.url(), "--nkey", r.adminSeed, "--tlsca", r.ca)
	var out screen
	follow.Stdout = &out
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = follow.Process.Kill(); _ = follow.Wait() }()
	r.Until("events are followed", func() bool { return strings.Contains(out.String(), "late") })

	// A port that somebody has: the apply says so, and nothing changes.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r.listen(taken.Addr().(*net.TCPAddr).Port, r.admin, "")
	if res := r.Supctl("apply").Is(exitcode.Configuration); !strings.Contains(res.Out+res.Err, "address already in use") {
		t.Errorf("apply says %s%s", res.Out, res.Err)
	}
	r.as(r.auditorSeed, "status").OK()

	old, moved := r.port, freePort(t)
	r.listen(moved, r.admin, "")
	if p := r.Supctl("plan").OK(); !strings.Contains(p.Out, "listen.address") || !strings.Contains(p.Out, "listen.nkeys") {
		t.Errorf("plan says\n%s", p.Out)
	}
	r.Supctl("apply").OK()
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", old)); err == nil {
		conn.Close()
		t.Error("the old port is still open")
	}
	r.port = moved
	r.as(r.adminSeed, "signal", "CONT", "late").OK()
	r.as(r.auditorSeed, "status").Is(exitcode.NotPermitted)
	r.Until("who followed before still hears", func() bool { return strings.Contains(out.String(), "CONT") })
	if after := r.Status("late"); after.Instance == nil || *after.Instance != *before.Instance {
		t.Errorf("late was touched: %+v, then %+v", before, after)
	}
	r.Configure(webConfig)
	r.Supctl("apply").OK()
	r.as(r.adminSeed, "status").Is(exitcode.Unreachable)
	r.Shutdown()
}

// TestNetworkPortTaken: supd run says so in front of a person.
func TestNetworkPortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	user, _ := controltest.User(t)
	r := rig.New(t, fmt.Sprintf("[listen]\naddress = %q\nnkeys = [{ key = %q, role = 'read' }]\n", taken.Addr(), user))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "cannot listen on "+taken.Addr().String()+": address already in use") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNetworkNATSCommand: the official tool reads and hears the journal over
// TLS with nothing but an nkey.
func TestNetworkNATSCommand(t *testing.T) {
	t.Parallel()
	binary := natsCommand(t)
	r := startRemote(t)
	home := t.TempDir()
	nats := func(args ...string) *exec.Cmd {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		t.Cleanup(cancel)
		cmd := exec.CommandContext(ctx, binary, append([]string{
			"--server", r.url(), "--nkey", r.auditorSeed, "--tlsca", r.ca, "--inbox-prefix", "_INBOX." + r.auditor, "--timeout", "5s",
		}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "NO_COLOR=1")
		return cmd
	}
	r.Until("the journal is open", func() bool { return r.Call(nil, "events", "-n", "1").Code == 0 })
	for _, args := range [][]string{
		{"stream", "ls"},
		{"stream", "get", event.Stream, "1"},
		{"stream", "subjects", event.Stream},
		{"req", "sup.rig.ask.nkey-" + r.auditor + ".status", "", "--raw"},
	} {
		if out, err := nats(args...).CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("nats %v: %v\n%s", args, err, out)
		}
	}
	sub := nats("sub", "sup.*.evt.>", "--count", "1", "--raw")
	var heard screen
	sub.Stdout, sub.Stderr = &heard, &heard
	if err := sub.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- sub.Wait() }()
	r.Until("nats sub hears a record", func() bool {
		r.Supctl("signal", "CONT", "late").OK()
		select {
		case err := <-done:
			return err == nil
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	if !strings.Contains(heard.String(), `"type":"supd.`) {
		t.Errorf("nats sub heard %s", heard.String())
	}
	for _, args := range [][]string{
		{"stream", "purge", event.Stream, "--force"},
		{"stream", "rm", event.Stream, "--force"},
		{"pub", "sup.rig.cmd.nkey-" + r.admin + "._", "{}"},
	} {
		out, _ := nats(args...).CombinedOutput()
		if !strings.Contains(strings.ToLower(string(out)), "permission") {
			t.Errorf("nats %v: %s", args, out)
		}
	}
	r.Shutdown()
}
