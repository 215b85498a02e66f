package rig_test

import (
	"fmt"
	"strings"
	"testing"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// TestScaleManyServices: one command sets the counts of as many services as
// somebody has.
func TestScaleManyServices(t *testing.T) {
	const services = 40
	var config strings.Builder
	config.WriteString(applyHead)
	args := []string{"scale"}
	for i := range services {
		fmt.Fprintf(&config, "[service.s%d]\ncommand = [\"/bin/sleep\", \"1000\"]\ncount = 1\nautostart = %v\n", i, i < 3)
		args = append(args, fmt.Sprintf("s%d=2", i))
	}
	r := rig.New(t, config.String())
	r.Run()
	untilPhases(r, event.PhaseRunning, "s0-0", "s1-0", "s2-0")
	before := pids(r)
	r.Supctl(args...).OK()
	now := phases(r)
	for i := range services {
		if _, ok := now[fmt.Sprintf("s%d-1", i)]; !ok {
			t.Errorf("s%d has no second replica", i)
		}
	}
	for name, pid := range before {
		if got := pids(r)[name]; got != pid {
			t.Errorf("P7: %s was %v and is %v", name, pid, got)
		}
	}
	// Too many is a refusal that says so, and nothing happens.
	r.Supctl("scale", "s0=1000000").Is(exitcode.Usage)
	if len(phases(r)) != 2*services {
		t.Errorf("%d replicas", len(phases(r)))
	}
	r.Shutdown()
}
