package rig_test

import (
	"encoding/json"
	"testing"

	"supd/cmd/internal/rig"
	"supd/journal/event"
	"supd/projector/timeline"
)

// A service's deaths are told when the journal has long rolled over them, also
// by an engine that was killed and by the next supd.
func TestHistoryOutlivesTheJournal(t *testing.T) {
	t.Parallel()
	r := rig.New(t, `
[journal]
max_records = 1000
[service.old]
command = ["sh", "-c", "exit 3"]
restart = "never"
autostart = false
[service.churn]
command = ["true"]
autostart = false
backoff.initial = "0s"
`)
	r.Run()
	for range 2 {
		r.Supctl("start", "old").OK()
		r.Until("it has ended", func() bool { return r.Status("old").State == event.PhaseExited })
	}
	history := func() (deaths []timeline.Death) {
		t.Helper()
		if err := json.Unmarshal([]byte(r.Supctl("history", "old", "-o", "json").OK().Out), &deaths); err != nil {
			t.Fatal(err)
		}
		return deaths
	}
	before := history()
	r.Supctl("start", "churn").OK()
	r.Until("the journal has rolled over", func() bool {
		var info event.Info
		r.Supctl("info", "-o", "json").OK().JSON(&info)
		return info.Journal.First > before[1].Seq
	})
	r.Supctl("stop", "churn").OK()
	check := func(when string) {
		t.Helper()
		after := history()
		if len(after) != 2 {
			t.Fatalf("%s: %d deaths are told, not 2", when, len(after))
		}
		for n, d := range after {
			if b := before[n]; d.Seq != b.Seq || d.Run != b.Run || d.Exit != "exit code 3" || d.Then != b.Then || d.Root != timeline.RootExit {
				t.Errorf("%s: %+v was %+v", when, d, b)
			}
		}
	}
	check("rolled over")
	r.Kill(r.Engine())
	r.Answers()
	check("by another engine")
	r.Shutdown()
	r.Run()
	check("by another supd")
	r.Shutdown()
}
