package rig_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"supd/cmd/internal/rig"
)

// What supd itself says and shows follows the applied configuration, in all
// of its processes.
func TestLogAndConsoleLive(t *testing.T) {
	t.Parallel()
	const service = "\n[service.tick]\ncommand = [\"sh\", \"-c\", \"while :; do echo tick; sleep 0.02; done\"]\n"
	const off = "[supd]\nconsole = \"off\"\nlog_format = \"json\"\n" + service
	r := rig.New(t, off)
	cmd := exec.Command(r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
	out, log := &screen{}, &screen{}
	cmd.Stdout, cmd.Stderr = out, log
	r.Start(cmd)
	r.Answers()
	r.Kill(r.Logger())
	r.Until("the keeper logs JSON", func() bool { return strings.Contains(log.String(), `"process":"keeper"`) })
	if s := out.String(); s != "" || strings.Contains(log.String(), "process=") {
		t.Fatalf("before: %q\n%s", s, log)
	}

	r.Configure("[supd]\nconsole = \"on\"\nlog_format = \"text\"\nlog_level = \"debug\"\n" + service)
	plan := r.Supctl("plan").OK().Out
	for _, key := range []string{"supd.console", "supd.log_format", "supd.log_level"} {
		if !strings.Contains(plan, key) || strings.Contains(plan, "started again") {
			t.Errorf("%s is not live:\n%s", key, plan)
		}
	}
	tick := r.Status("tick")
	r.Supctl("apply").OK()
	r.Until("output is shown", func() bool { return strings.Contains(out.String(), "tick | tick\n") })
	r.Kill(r.Logger())
	r.Until("the keeper logs text", func() bool { return strings.Contains(log.String(), "process=keeper") })
	r.Kill(r.Engine()) // the next one knows what is applied
	r.Until("the engine logs text", func() bool { return strings.Contains(log.String(), "process=engine") })
	r.Answers()
	shown := len(out.String())
	r.Until("output is shown on", func() bool { return len(out.String()) > shown })

	r.Configure(off)
	r.Supctl("apply").OK()
	r.Until("output is shown no more", func() bool {
		shown := len(out.String())
		time.Sleep(300 * time.Millisecond) // 15 ticks
		return len(out.String()) == shown
	})
	if now := r.Status("tick"); *now.PID != *tick.PID {
		t.Errorf("the service was touched: pid %d is %d", *tick.PID, *now.PID)
	}
	r.Shutdown()
}
