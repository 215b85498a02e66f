package rig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// TestReadinessAndHooks starts services that show in different ways that they
// are ready, kills the engine while one of them is not yet, and makes one ill.
func TestReadinessAndHooks(t *testing.T) {
	t.Parallel()
	r := rig.New(t, `
[service.log]
command = ["/bin/sh", "-c", "while [ ! -e DIR/go ]; do sleep 0.02; done; echo listening on 80; exec sleep 600"]
ready.log = "^listening on"
[service.fd]
command = ["/bin/sh", "-c", "while [ ! -e DIR/go ]; do sleep 0.02; done; echo >&3; exec sleep 600"]
ready.fd = 3
[service.hooked]
command = ["/bin/sleep", "600"]
ready.exec = ["/bin/true"]
health = { exec = ["/bin/sh", "-c", "test ! -e DIR/sick || { echo it is sick; exit 3; }"], interval = "100ms", failures = 2 }
[service.hooked.hooks]
pre_start = ["/bin/sh", "-c", "echo pre_start speaks"]
post_stop = ["/bin/sh", "-c", "echo post_stop speaks"]
`)
	r.Run()
	phase := func(service string, want event.Phase) {
		t.Helper()
		r.Until(service+" is "+string(want), func() bool { return r.Status(service).State == want })
	}
	phase("hooked", event.PhaseRunning)
	for _, service := range []string{"log", "fd"} {
		if p := r.Status(service).State; p != event.PhaseStarting {
			t.Errorf("%s is %s before it is ready", service, p)
		}
	}
	r.Kill(r.Engine())
	touch := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(r.Dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch("go")
	r.Answers()
	phase("log", event.PhaseRunning)
	phase("fd", event.PhaseRunning)
	first := r.Status("hooked").Instance
	touch("sick")
	r.Until("the sick one is started again", func() bool {
		i := r.Status("hooked").Instance
		return i != nil && first != nil && *i != *first
	})
	events := r.Supctl("events", "--since", "1h", "--service", "hooked").OK().Out
	for _, want := range []string{"it is sick", "health"} {
		if !strings.Contains(events, want) {
			t.Errorf("events do not say %q:\n%s", want, events)
		}
	}
	r.Until("the hooks' words are in the logs", func() bool {
		logs := r.Supctl("logs", "hooked", "-n", "100").Out
		return strings.Contains(logs, "pre_start speaks") && strings.Contains(logs, "post_stop speaks")
	})
	r.Shutdown()
}
