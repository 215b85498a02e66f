package rig_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"supd/cmd/internal/rig"
)

// TestCommandLine types what a person types, into the real programs: every
// verb, every exit code, every form of JSON.
//
//	supd FILE             runs supd with that configuration
//	configure FILE        writes another one
//	newid                 sets ID to a fresh UUID for commands
//	gone                  waits for supd's own end
//	code N PROGRAM ARG…   runs a program whose exit code is N
//	until PROGRAM ARG…    runs it until its exit code is 0
//	fields PATH KEY…      stdout is JSON, and what is at PATH has just these keys
//	value PATH TEXT       what is at PATH is, in JSON, TEXT
func TestCommandLine(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/cli",
		Setup: func(env *testscript.Env) error {
			tb := env.T().(testing.TB)
			r := rig.New(tb, "")
			env.Values["rig"] = r
			bin := filepath.Dir(r.Programs.Supctl)
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("SUPD_SOCKET", r.Socket)
			env.Setenv("NO_COLOR", "1")
			env.Setenv("RIG", r.Dir)
			return nil
		},
		Condition: func(what string) (bool, error) { return what == "root" && os.Geteuid() == 0, nil },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"supd":      func(ts *testscript.TestScript, _ bool, args []string) { configure(ts, args); theRig(ts).Run() },
			"configure": func(ts *testscript.TestScript, _ bool, args []string) { configure(ts, args) },
			"newid":     func(ts *testscript.TestScript, _ bool, _ []string) { ts.Setenv("ID", uuid.Must(uuid.NewV7()).String()) },
			"gone":      func(ts *testscript.TestScript, _ bool, _ []string) { theRig(ts).Gone() },
			"code":      code, "until": until, "fields": fields, "value": value,
		},
	})
}

func theRig(ts *testscript.TestScript) *rig.Rig { return ts.Value("rig").(*rig.Rig) }

func configure(ts *testscript.TestScript, args []string) {
	if len(args) != 1 {
		ts.Fatalf("a configuration is missing")
	}
	theRig(ts).Configure(ts.ReadFile(args[0]))
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

func until(ts *testscript.TestScript, _ bool, args []string) {
	if !rig.Wait(rig.Patience, func() bool { return ts.Exec(args[0], args[1:]...) == nil }) {
		ts.Fatalf("not within %v: %v", rig.Patience, args)
	}
}

// at finds what is at a path such as .pids.engine or [0].last_exit in stdout.
func at(ts *testscript.TestScript, path string) any {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("stdout is not one value of JSON: %v", err)
	}
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(x) {
				ts.Fatalf("no %s in %s", step, path)
			}
			v = x[n]
		default:
			ts.Fatalf("nothing is at %s", path)
		}
	}
	return v
}

func fields(ts *testscript.TestScript, _ bool, args []string) {
	object, ok := at(ts, args[0]).(map[string]any)
	got, want := slices.Sorted(maps.Keys(object)), slices.Sorted(slices.Values(args[1:]))
	if !ok || !slices.Equal(got, want) {
		ts.Fatalf("%s has %v, want %v", args[0], got, want)
	}
}

func value(ts *testscript.TestScript, neg bool, args []string) {
	got, err := json.Marshal(at(ts, args[0]))
	if err != nil || (string(got) == args[1]) == neg {
		ts.Fatalf("%s is %s, want %s", args[0], got, args[1])
	}
}
