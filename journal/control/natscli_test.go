package control_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"supd/journal/control/controltest"
	"supd/journal/event"
)

// natsCLI finds the official command.
func natsCLI(t *testing.T) string {
	t.Helper()
	path := os.Getenv("SUPD_NATS_CLI")
	if path == "" {
		path, _ = exec.LookPath("nats")
	}
	if path == "" {
		t.Skip("NOT RUN: needs the nats command: go install github.com/nats-io/natscli/nats@latest, then set SUPD_NATS_CLI to its path")
	}
	return path
}

// forward gives the socket a port on the loopback: the nats command cannot
// dial a unix socket.
func forward(t *testing.T, socket string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", socket)
			if err != nil {
				from.Close()
				continue
			}
			wg.Go(func() { io.Copy(to, from); to.Close() })
			wg.Go(func() { io.Copy(from, to); from.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "nats://" + l.Addr().String()
}

// TestNATSCommandReadsTheJournal: auditors need nothing of ours.
func TestNATSCommandReadsTheJournal(t *testing.T) {
	binary := natsCLI(t)
	rig := controltest.Start(t, root())
	stored := rig.Append(t,
		event.Draft{Subject: "web", Data: event.InstanceStartingData{Instance: "i", PID: 77}},
		event.Draft{Subject: "web", Data: event.InstanceExitedData{Instance: "i"}},
		event.Draft{Subject: "db", Data: event.InstanceStartingData{Instance: "j", PID: 78}},
	)
	url, home := forward(t, rig.Socket), t.TempDir()
	start := func(args ...string) (*exec.Cmd, *strings.Builder) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		cmd := exec.CommandContext(ctx, binary, append([]string{
			"--server", url, "--user", "auditor-token-1", "--inbox-prefix", "_INBOX.auditor-token-1", "--timeout", "5s",
		}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "NO_COLOR=1")
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &out
	}
	run := func(want string, args ...string) string {
		t.Helper()
		cmd, out := start(args...)
		err := cmd.Wait()
		if err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("nats %s: %v, no %q in\n%s", strings.Join(args, " "), err, want, out)
		}
		return out.String()
	}
	run("JOURNAL", "stream", "ls")
	run("Messages: 3", "stream", "info", "JOURNAL")
	run("instance.exited", "stream", "subjects", "JOURNAL")
	run(string(stored[1].Bytes), "stream", "get", "JOURNAL", "2")
	run(string(stored[2].Bytes), "stream", "get", "JOURNAL", "--last-for", "sup.n1.evt.db.instance.starting")
	run("auditing", "consumer", "add", "JOURNAL", "auditing", "--ephemeral", "--pull", "--deliver", "all", "--ack", "none",
		"--filter", "sup.n1.evt.web.>", "--defaults")
	run(string(stored[0].Bytes), "consumer", "next", "JOURNAL", "auditing", "--no-ack")
	run("auditing", "consumer", "ls", "JOURNAL")
	run("auditing", "consumer", "info", "JOURNAL", "auditing")
	out := run("uid-0", "req", "sup.n1.ask.uid-0.info", "", "--raw")
	var info event.Info
	if err := json.Unmarshal([]byte(out), &info); err != nil || info.Node != controltest.Node {
		t.Errorf("req: %v, %s", err, out)
	}
	sub, heard := start("sub", "sup.n1.evt.>", "--count", "1", "--raw")
	done := make(chan error, 1)
	go func() { done <- sub.Wait() }()
	eventually(t, "nats sub hears a record", func() bool {
		rig.Append(t, event.Draft{Subject: "web", Data: event.InstanceExitedData{Instance: "k"}})
		select {
		case err := <-done:
			return err == nil
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	if !strings.Contains(heard.String(), `"type":"supd.instance.exited.v1"`) {
		t.Errorf("nats sub heard %s", heard)
	}
	// What is refused says so.
	cmd, refused := start("stream", "purge", "JOURNAL", "--force")
	if err := cmd.Wait(); err == nil || !strings.Contains(refused.String(), "ermission") {
		t.Errorf("nats stream purge: %v\n%s", err, refused)
	}
	if journal(t, rig).Msgs < 4 {
		t.Error("the journal was purged")
	}
}
