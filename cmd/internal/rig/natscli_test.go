package rig_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// onLoopback gives the socket a port: the nats command cannot dial a unix
// socket.
func onLoopback(t *testing.T, socket string) string {
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
			wg.Go(func() { _, _ = io.Copy(to, from); to.Close() })
			wg.Go(func() { _, _ = io.Copy(from, to); from.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "nats://" + l.Addr().String()
}

func natsCommand(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("SUPD_NATS_CLI")
	if binary == "" {
		binary, _ = exec.LookPath("nats")
	}
	if binary == "" {
		need(t, "the nats command, named by SUPD_NATS_CLI")
	}
	return binary
}

// TestNATSCommand: an auditor reads the journal of a running supd with the
// official tool, and gets the very bytes that are on disk.
func TestNATSCommand(t *testing.T) {
	t.Parallel()
	binary := natsCommand(t)
	r := rig.New(t, webConfig)
	r.Run()
	r.Supctl("restart", "web").OK()
	r.Kill(r.Engine())
	r.Supctl("stop", "web").OK()
	url, home := onLoopback(t, r.Socket), t.TempDir()
	nats := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, binary, append([]string{
			"--server", url, "--user", "auditor-token-1", "--inbox-prefix", "_INBOX.auditor-token-1", "--timeout", "5s",
		}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "NO_COLOR=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("nats %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	r.Until("the journal is open", func() bool { return r.Call(nil, "events", "-n", "1").Code == 0 })
	first := nats("stream", "get", event.Stream, "1")
	listed := nats("stream", "ls")
	subjects := nats("stream", "subjects", event.Stream)
	exited := nats("stream", "get", event.Stream, "--last-for", "sup.rig.evt.web.instance.exited")
	nats("consumer", "add", event.Stream, "audit", "--ephemeral", "--pull", "--deliver", "all", "--ack", "none", "--filter", "sup.rig.evt.web.>", "--defaults")
	next := nats("consumer", "next", event.Stream, "audit", "--no-ack")
	r.Shutdown()
	h := r.History()
	if !strings.Contains(listed, event.Stream) || !strings.Contains(subjects, "sup.rig.evt.web.instance.starting") {
		t.Errorf("nats lists\n%s%s", listed, subjects)
	}
	for what, heard := range map[string]string{"the first record": first, "the last exit": exited, "the first record of web": next} {
		stored := false
		for _, e := range h {
			stored = stored || strings.Contains(heard, string(e.Bytes))
		}
		if !stored {
			t.Errorf("%s is not what is stored:\n%s", what, heard)
		}
	}
}
