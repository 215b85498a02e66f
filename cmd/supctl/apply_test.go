package main

import (
	"encoding/json"
	"strings"
	"testing"

	"supd/cmd/internal/exitcode"
	"supd/journal/control"
	"supd/journal/control/controltest"
	"supd/journal/event"
)

// supctl runs the command against a scripted engine.
func supctl(t *testing.T, engine *controltest.Engine, args ...string) (code int, out, errOut string) {
	t.Helper()
	rig := controltest.Start(t, controltest.Options{Handler: engine})
	var o, e strings.Builder
	code = run(t.Context(), append(args, "--socket", rig.Socket), &o, &e)
	return code, o.String(), e.String()
}

func TestApply(t *testing.T) {
	const id = "01890a5d-ac96-774b-bcce-b302099a8077"
	fault := event.Result{Outcome: event.Refused, Error: "/etc/supd/supd.toml:3:1: unknown key `colour`"}
	for name, tt := range map[string]struct {
		end       event.CommandReply
		code      int
		out, says string
	}{
		"done": {
			event.CommandReply{Outcome: event.Done, Results: []event.Result{{Service: "web", Outcome: event.Done}}},
			exitcode.Done, "web: done\n", "",
		},
		"unchanged": {event.CommandReply{Outcome: event.Unchanged}, exitcode.Done, "apply: unchanged\n", ""},
		"wrong": {
			event.CommandReply{Outcome: event.Refused, Results: []event.Result{fault}},
			exitcode.Configuration, "", fault.Error + "\nsupctl: cannot apply: the configuration has errors; nothing was changed\n",
		},
		"one fails": {
			event.CommandReply{Outcome: event.Failed, Results: []event.Result{
				{Service: "bad", Outcome: event.Failed, Error: "no"}, {Service: "web", Outcome: event.Done},
			}},
			exitcode.Failed, "bad: failed: no\nweb: done\n", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			engine := controltest.NewEngine()
			engine.Apply = &tt.end
			rig := controltest.Start(t, controltest.Options{Handler: engine})
			for _, args := range [][]string{{"apply", "--id", id}, {"result", id}} { // whoever asks later hears the same
				var out, errOut strings.Builder
				code := run(t.Context(), append(args, "--socket", rig.Socket), &out, &errOut)
				want := tt.out
				if args[0] == "result" {
					want = strings.Replace(want, "apply:", "command:", 1)
				}
				if code != tt.code || out.String() != want || !strings.HasPrefix(errOut.String(), tt.says) {
					t.Errorf("%v: exit code %d, want %d\n%s%s", args, code, tt.code, &out, &errOut)
				}
			}
		})
	}
}

func TestPlan(t *testing.T) {
	plan := event.Plan{
		Problems: []event.ConfigProblem{{
			ConfigError: event.ConfigError{File: "a.toml", Line: 2, Column: 7, Message: "cannot find the program"}, Hint: "install it", Warning: true,
		}},
		Services: []event.PlannedService{
			{Service: "db", Action: event.PlanStay},
			{Service: "old", Action: event.PlanStop},
			{Service: "web", Action: event.PlanRestart, Keys: []string{"command", "nice"}},
		},
		Settings: []event.PlannedSetting{{Key: "journal.inbox", Action: event.PlanRestart}, {Key: "supd.log_level", Action: event.PlanUpdate}},
	}
	ask := func(p event.Plan) *controltest.Engine {
		e := controltest.NewEngine()
		e.OnAsk = func(verb string, _ control.Request) (any, error) {
			if verb != event.AskPlan {
				t.Errorf("asked for %s", verb)
			}
			return p, nil
		}
		return e
	}
	code, out, errOut := supctl(t, ask(plan), "plan")
	want := `NAME            ACTION                                   BECAUSE OF
old             stop
web             restart                                  command, nice
journal.inbox   takes effect when supd is started again
supd.log_level  takes effect live
1 service stays as it is
`
	lines := strings.Split(out, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	if got := strings.Join(lines, "\n"); code != exitcode.Done || got != want {
		t.Errorf("exit code %d\n got %s\nwant %s", code, got, want)
	}
	if want := "a.toml:2:7: warning: cannot find the program\n    hint: install it\n"; errOut != want {
		t.Errorf("got %q, want %q", errOut, want)
	}
	code, out, _ = supctl(t, ask(plan), "plan", "-o", "json")
	var again event.Plan
	if err := json.Unmarshal([]byte(out), &again); code != exitcode.Done || err != nil || len(again.Services) != 3 || len(again.Problems) != 1 {
		t.Errorf("exit code %d, %v\n%s", code, err, out)
	}
	code, out, _ = supctl(t, ask(event.Plan{Services: plan.Services[:1]}), "plan")
	if code != exitcode.Done || out != "nothing to do\n" {
		t.Errorf("exit code %d\n%s", code, out)
	}
	plan.Problems[0].Warning = false
	plan.Services, plan.Settings = nil, nil
	code, out, errOut = supctl(t, ask(plan), "plan")
	if code != exitcode.Configuration || out != "" || !strings.HasPrefix(errOut, "a.toml:2:7: cannot find the program\n") {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
}
