package timeline

import (
	"encoding/json"
	"testing"

	"supd/journal/event"
)

func TestGap(t *testing.T) {
	d := event.JournalGapData{First: 4, Last: 90, Why: "full", Kept: []json.RawMessage{[]byte("{}")}}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", ""} {
		d.Loops = append(d.Loops, event.CrashLoop{Service: name, Cycles: 2, Exits: map[string]int{"exit 1": 1, "SIGSEGV": 1}})
	}
	d.Loops[6].Cycles = 9
	const each = " restarted and ended 2 times (SIGSEGV: 1, exit 1: 1)"
	want := "records 4 to 90 are missing but for 1 record in it: full; others restarted and ended 9 times (SIGSEGV: 1, exit 1: 1); a" +
		each + "; b" + each + "; c" + each + "; d" + each + "; 2 services more, 4 times"
	if got := gap(d); got != want {
		t.Errorf("%s\n%s", got, want)
	}
}
