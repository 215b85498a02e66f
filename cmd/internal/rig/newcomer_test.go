package rig_test

import (
	"strings"
	"testing"

	"supd/cmd/internal/rig"
)

// TestStoppedToo: whoever stops a service reads which others went with it.
func TestStoppedToo(t *testing.T) {
	t.Parallel()
	r := rig.New(t, node("db", "", "")+node("web", "", "requires = [\"db\"]")+node("edge", "", "requires = [\"web\"]"))
	r.Run()
	r.Supctl("start", "edge").OK()
	if got := r.Supctl("stop", "db").OK().Out; got != "db: done\nedge: stopped too, it requires db\nweb: stopped too, it requires db\n" {
		t.Errorf("stop says\n%s", got)
	}
	r.Supctl("start", "edge").OK()
	if got := r.Supctl("stop", "web", "db", "edge").OK().Out; strings.Contains(got, "too") {
		t.Errorf("all three were named:\n%s", got)
	}
	if got := r.Supctl("stop", "db").OK().Out; got != "db: unchanged\n" && got != "db: done\n" {
		t.Errorf("a stop of the stopped says\n%s", got)
	}
	r.Shutdown()
}

// TestWhyOfTheWaiting: why of a service that waits for one that is never ready
// leads to the limit that ran out there, and status names it.
func TestWhyOfTheWaiting(t *testing.T) {
	t.Parallel()
	r := rig.New(t, node("never", "", "ready.tcp = \"127.0.0.1:1\"\nready.timeout = \"300ms\"\nbackoff.initial = \"20s\"\nbackoff.max = \"20s\"")+
		node("dep", "", "requires = [\"never\"]"))
	r.Run()
	r.Supctl("start", "dep", "--no-wait").OK()
	r.Until("status names the limit", func() bool {
		return strings.Contains(r.Supctl("status").OK().Out, "never is backoff, next start in") &&
			strings.Contains(r.Supctl("status").OK().Out, ": was not ready within 300ms (tcp 127.0.0.1:1)")
	})
	const root = "root cause (start-timeout): never: it was not ready within its ready.timeout of 300ms (tcp 127.0.0.1:1)"
	if got := r.Supctl("why", "dep").OK().Out; !strings.Contains(got, root) {
		t.Errorf("why says\n%s", got)
	}
	r.Shutdown()
}
