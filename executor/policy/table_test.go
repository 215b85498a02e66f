package policy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// letters are the columns' words for records in the table of doc.go.
func letter(r event.Record) string {
	switch d := r.Data.(type) {
	case event.ServiceWantedData:
		return map[event.Want]string{event.Up: "U", event.Down: "D"}[d.Want]
	case event.CommandEndedData:
		return map[event.Outcome]string{event.Unchanged: "=", event.Refused: "!"}[d.Outcome]
	}
	return map[event.Kind]string{
		event.RestartCancelled: "C", event.InstanceStarting: "G", event.InstanceRunning: "R", event.InstanceExecFailed: "F",
		event.InstanceStopping: "S", event.InstanceSignaled: "M", event.InstanceExited: "X", event.InstanceSwept: "W",
		event.InstanceStuck: "T", event.InstanceAdopted: "A", event.RestartScheduled: "B", event.ServiceFatal: "Z",
		event.ServiceDefined: "L", event.ServiceRemoved: "O", event.ServiceWaiting: "Q", event.InstanceReady: "Y",
		event.InstanceReloading: "V", event.InstanceExtended: "N", event.HealthChanged: "H", event.HookStarted: "P", event.HookEnded: "E",
	}[r.Kind]
}

// phases are the ways into the columns of the table. Two have a column more:
// stopped and wanted, which is on its way to a start, and stopping with the
// main process gone, which is the end of its tree.
var phases = []struct{ phase, script string }{
	{"stopped", "define web reload=SIGHUP"},
	{"wanted", "define web reload=SIGHUP autostart=true"},
	{"waiting", "define db; define web reload=SIGHUP requires=db; start c1 web"},
	{"starting", "define web reload=SIGHUP; start c1 web; parked web i1"},
	{"readying", "define web reload=SIGHUP ready=60s; start c1 web; parked web i1; executed web i1"},
	{"running", "define web reload=SIGHUP health=restart watchdog=5s; start c1 web; parked web i1; executed web i1"},
	{"stopping", "define web reload=SIGHUP; start c1 web; parked web i1; executed web i1; stop c2 web"},
	{"ending", "define web reload=SIGHUP; start c1 web; parked web i1; executed web i1; exited web i1 code=1 left=1"},
	{"hooked", "define web reload=SIGHUP post_stop=x; start c1 web; parked web i1; executed web i1; exited web i1 code=1"},
	{"backoff", "define web reload=SIGHUP; start c1 web; parked web i0; executed web i0; exited web i0 code=1; parked web i1; executed web i1; exited web i1 code=1"},
	{"exited", "define web reload=SIGHUP restart=never; start c1 web; parked web i1; executed web i1; exited web i1"},
	{"fatal", "define web reload=SIGHUP max_retries=0; start c1 web; parked web i1; executed web i1; exited web i1 code=1"},
	{"stuck", "define web reload=SIGHUP timeout=0s; start c1 web; parked web i1; executed web i1; stop c2 web; signaled web i1 op=kill; advance 5s; tick web"},
}

// happenings are the rows: the last line of each script is the event.
var happenings = []struct{ name, script string }{
	{"start", "start c9 web"},
	{"stop", "stop c9 web"},
	{"restart", "restart c9 web"},
	{"signal", "signal c9 HUP web"},
	{"reload", "reload c9 web"},
	{"parked", "parked web i9"},
	{"park failed", "parkfailed web i9 step=fork errno=11"},
	{"executed", "executed web i1"},
	{"exec failed", "execfailed web i1 step=exec errno=2"},
	{"exited", "exited web i1 code=1"},
	{"signaled", "signaled web i1 op=stop"},
	{"tree empty", "empty web i1"},
	{"swept", "swept web i1"},
	{"adopted", "adopted web i1"},
	{"followed", "followed web i1"},
	{"lost", "lost web i1"},
	{"forgotten", "forgotten web i1"},
	{"ready", "ready web i1"},
	{"reloading", "reloading web i1"},
	{"extended", "extend web i1 for=10m"},
	{"health", "unhealthy web i1"},
	{"watchdog missed", "watchdog web i1"},
	{"hook ended", "hooked web i1 hook=post_stop"},
	{"deadline", "advance 10s; tick web"},
	{"changed", "define web reload=SIGHUP nice=1"},
	{"removed", "undefine web"},
	{"shutdown", "term"},
}

// TestTable compares the table of phase × event in doc.go with what Decide
// does: each cell of it is a test.
func TestTable(t *testing.T) {
	var table strings.Builder
	row := func(name string, cells []string) {
		line := name + strings.Repeat(" ", 17-len(name))
		for i, c := range cells {
			line += c + strings.Repeat(" ", len(phases[i].phase)+2-len([]rune(c)))
		}
		table.WriteString("//\t" + strings.TrimRight(line, " ") + "\n")
	}
	var names []string
	for _, p := range phases {
		names = append(names, p.phase)
	}
	row("", names)
	for _, h := range happenings {
		var cells []string
		for _, ph := range phases {
			cells = append(cells, cell(t, ph.phase, ph.script, h.script))
		}
		row(h.name, cells)
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("the table in doc.go is not what Decide does:\n%s", table.String())
	}
}

func cell(t *testing.T, phase, setup, event string) string {
	t.Helper()
	p := &player{bench: newBench(t.Fatalf), t: t, ids: map[string]string{}, names: map[string]string{}}
	run := func(script string) {
		for _, line := range strings.Split(script, "; ") {
			p.command(strings.Fields(line))
		}
	}
	run(setup)
	want := strings.NewReplacer("wanted", "stopped", "ending", "stopping", "readying", "starting", "hooked", "stopping").Replace(phase)
	if got := p.s.Services["web"].Phase; string(got) != want {
		t.Fatalf("the script for %s leads to %s", phase, got)
	}
	before := len(p.log)
	run(event)
	text := ""
	for _, e := range p.log[before:] {
		text += letter(e.Record)
	}
	for _, e := range p.last.Effects {
		switch e.(type) {
		case policy.Drop:
			text += "d"
		case policy.Adopt:
			text += "a"
		}
	}
	if v := p.s.Services["web"]; text == "" && v != nil {
		for _, d := range policy.Duties(p.s, v, p.w.Now) {
			switch tick := strings.HasSuffix(event, "tick web"); {
			case d.Do == policy.ActSignal && strings.HasPrefix(d.Operation, projector.SignalOperation("")):
				text += "m"
			case tick && d.Do == policy.ActPark && phase == "backoff":
				text += "p"
			case tick && d.Do == policy.ActSignal:
				text += "k"
			}
		}
	}
	if text == "" {
		return "·"
	}
	return text
}

// TestTableIsComplete holds the columns against the phases and the rows
// against the inputs: what is new must be entered.
func TestTableIsComplete(t *testing.T) {
	have := map[event.Phase]bool{}
	for _, p := range phases {
		have[event.Phase(p.phase)] = true
	}
	for _, p := range event.Phases() {
		if !have[p] {
			t.Errorf("phase %s has no column", p)
		}
	}
	src, err := os.ReadFile("input.go")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := "Command Upgraded Rejected Denied Configure ConfigRefused ParkEnded Shutdown Started LoggerStarted Settle Note Base Tick"
	rows := strings.ToLower(strings.Join(strings.Fields(rowNames()), ""))
	for _, m := range regexp.MustCompile(`func \((\w+)\) +input\(\)`).FindAllStringSubmatch(string(src), -1) {
		in := m[1]
		if !strings.Contains(rows, strings.ToLower(in)) && !strings.Contains(" "+elsewhere+" ", " "+in+" ") {
			t.Errorf("input %s has no row, and is not named as one that is shown elsewhere", in)
		}
	}
}

func rowNames() string {
	text := ""
	for _, h := range happenings {
		text += h.name + " "
	}
	return text
}

// TestEachRecoveryRowIsShown wants each row of the recovery table in at least
// one transcript.
func TestEachRecoveryRowIsShown(t *testing.T) {
	src, err := os.ReadFile("recovery.go")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^//\t(\d+)  `).FindAllStringSubmatch(string(src), -1)
	if len(rows) == 0 {
		t.Fatal("recovery.go has no table")
	}
	files, _ := filepath.Glob("testdata/*.txt")
	shown := ""
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		shown += string(b)
	}
	for _, row := range rows {
		if !regexp.MustCompile(`recovery\.settled .*row:` + row[1] + `[,}]`).MatchString(shown) {
			t.Errorf("row %s of the recovery table is in no transcript", row[1])
		}
	}
}
