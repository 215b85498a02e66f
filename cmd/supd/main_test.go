package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"supd/executor"
	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/journal"
	"supd/journal/event"
	"supd/journal/output"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"supd": main})
}

// TestScripts runs the real command where it refuses to run: nothing is
// started.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", Deadline: time.Now().Add(time.Minute),
		Setup: func(env *testscript.Env) error {
			dir, err := os.MkdirTemp("", "supd-") // short enough for a socket
			if err != nil {
				return err
			}
			env.Defer(func() { _ = os.RemoveAll(dir) })
			env.Setenv("RUN", dir)
			env.Setenv("LONG", filepath.Join(dir, strings.Repeat("x", 107)))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code, "hold": hold, "release": release, "node": node},
	})
}

// code runs a command and compares its exit code: code 2 supd --nonsense.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND [ARG…]")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// locks is what a script holds. One script alone does, so nothing guards it.
var locks = map[*testscript.TestScript]*os.File{}

// hold takes a lock as another supd would, which says that it is pid 4711.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	ts.Check(err)
	_, err = f.WriteString("4711 5\n")
	ts.Check(err)
	ts.Check(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	locks[ts] = f
	ts.Defer(func() { f.Close() })
}

func release(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(locks[ts].Close())
}

// node makes a state folder, as the first supd in it does.
func node(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	_, err := journal.Identify(journal.Config{StateDir: dir, RuntimeDir: ts.Getenv("RUN"), Node: "n"})
	ts.Check(err)
}

// What the executor writes for the logger is what the logger reads.
func TestOutputSettings(t *testing.T) {
	for _, o := range []event.Output{
		{},
		{MaxSize: 1 << 20, MaxFiles: 3, MaxAge: event.Duration(36 * time.Hour), OnFull: "drop", Compress: "gzip", Console: true},
		{MaxSize: 1, MaxFiles: 0, OnFull: "block"},
	} {
		got, shown, err := outputSettings(executor.OutputSettings(event.Spec{Output: o}))
		if err != nil || shown != o.Console {
			t.Fatalf("shown %v, %v", shown, err)
		}
		want := output.DefaultSettings()
		want.MaxSize, want.MaxFiles, want.MaxAge = o.MaxSize, o.MaxFiles, time.Duration(o.MaxAge)
		want.OnFull, want.Compress = o.OnFull, o.Compress
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", o, diff)
		}
	}
	for _, bad := range []string{"", "{", `{"max_size":"1MiB"}`, "[]"} {
		if _, _, err := outputSettings([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// What the logger reports is what the engine reads, and nothing else is.
func TestLoggerNote(t *testing.T) {
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, tt := range []struct {
		in   output.Event
		kind event.Kind
	}{
		{output.Event{Kind: output.KindGap, Service: "web", Data: output.Gap{Stream: "stdout", Instance: "i", Lines: 2, Bytes: 3, From: at, To: at, Reason: "full"}}, event.OutputGap},
		{output.Event{Kind: output.KindTrimmed, Service: "web", Data: output.Trimmed{Stream: "stdout", Segments: 2, Bytes: 3, Oldest: at, Newest: at, Why: output.WhyAge}}, event.OutputTrimmed},
		{output.Event{Kind: output.KindPressed, Service: "web", Data: output.Pressed{What: "disk", Errno: "ENOSPC", Limit: "/o: full"}}, event.ResourcePressed},
		{output.Event{Kind: output.KindRelieved, Service: "web", Data: output.Relieved{What: "disk", Duration: "5s", Refused: 7}}, event.ResourceRelieved},
	} {
		b, err := event.Marshal(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		note, err := loggerNote(b)
		if err != nil || note.Subject != "web" || note.Data.Kind() != tt.kind {
			t.Errorf("%s: %+v, %v", b, note, err)
			continue
		}
		// Nothing of it is lost on the way to the record.
		want, _ := event.Marshal(tt.in.Data)
		got, _ := event.Marshal(note.Data)
		var a, c map[string]any
		if json.Unmarshal(want, &a) != nil || json.Unmarshal(got, &c) != nil {
			t.Fatalf("%s, %s", want, got)
		}
		if diff := cmp.Diff(a, c); diff != "" {
			t.Errorf("%s (-logger +record):\n%s", tt.kind, diff)
		}
	}
	for _, bad := range []string{
		"", "{", `{"kind":"output.gap","service":"web"}`, `{"kind":"service.wanted","service":"web","data":{"want":"down"}}`,
		`{"kind":"output.gap","service":"web","data":"x"}`,
	} {
		if note, err := loggerNote([]byte(bad)); err == nil {
			t.Errorf("%q is taken: %+v", bad, note)
		}
	}
}

// FuzzLoggerNote: the logger is another process.
func FuzzLoggerNote(f *testing.F) {
	f.Add([]byte(`{"kind":"output.gap","service":"web","data":{"stream":"stdout","lines":1}}`))
	f.Add([]byte(`{"kind":"resource.pressed","data":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		note, err := loggerNote(b)
		if err == nil && note.Data == nil {
			t.Errorf("%q is a note of nothing", b)
		}
	})
}

func TestKernelFeatures(t *testing.T) {
	all := wire.Info{Cgroup: "/sys/fs/cgroup/supd-0", Features: ^uint32(0)}
	for key, text := range kernelFeatures(all) {
		want := "yes"
		switch key {
		case "cgroup":
			want = all.Cgroup
		case "limits":
			want = "memory, cpu_quota, pids"
		}
		if text != want {
			t.Errorf("%s: %q, want %q", key, text, want)
		}
	}
	none := kernelFeatures(wire.Info{CgroupReason: "switched off"})
	for key, text := range none {
		reason, weaker, ok := strings.Cut(text, ": ")
		if !ok || weaker == "" || reason != "no" && reason != "none" {
			t.Errorf("%s does not say what is weaker: %q", key, text)
		}
	}
	if !strings.Contains(none["cgroup"], "switched off") {
		t.Errorf("cgroup: %q", none["cgroup"])
	}
	for bit, key := range map[uint32]string{
		wire.FeatureCgroupKill: "cgroup.kill", wire.FeaturePidfdExit: "pidfd_exit", wire.FeaturePidfdPinned: "pidfd_pinned", wire.FeatureSubreaper: "subreaper", wire.FeatureRoot: "change_user",
	} {
		for k, text := range kernelFeatures(wire.Info{Features: bit}) {
			if (text == "yes") != (k == key) {
				t.Errorf("with bit %x %s is %q", bit, k, text)
			}
		}
	}
}

func TestExecuteCodes(t *testing.T) {
	inner := errors.New("inner")
	if err := (failure{6, inner}); !errors.Is(err, inner) || err.Error() != "inner" {
		t.Error(err)
	}
}

// lastKeeper plays the keeper at the end. It refuses to go while it holds a
// stub, or a process.
type lastKeeper struct {
	events  chan keeper.Event
	stub    *keeper.Slot // at its gate, or about to be
	process *keeper.Slot
	quits   []bool // with keep?
	drops   []string
	gone    bool
}

func (k *lastKeeper) Events() <-chan keeper.Event { return k.events }

func (k *lastKeeper) Drop(instance string) error {
	k.drops = append(k.drops, instance)
	if k.stub != nil {
		k.stub.State = wire.StateDropped
		k.events <- keeper.Dropped{Slot: *k.stub}
		k.stub = nil
	}
	return nil
}

func (k *lastKeeper) Quit(_ uint8, keep bool) error {
	k.quits = append(k.quits, keep)
	refused := false
	for _, s := range []*keeper.Slot{k.stub, k.process} {
		if s != nil && !keep {
			refused = true
			if s.State != wire.StateParking {
				k.events <- keeper.Unchanged{Slot: *s}
			}
		}
	}
	if !refused && !k.gone {
		k.gone = true
		close(k.events)
	}
	return nil
}

func TestLeave(t *testing.T) {
	stub := func(s wire.State) *keeper.Slot { return &keeper.Slot{Service: "web", Instance: "i", State: s} }
	signal := func(n int) keeper.Event { return keeper.HostSignal{HostSignal: wire.HostSignal{Signal: n}} }
	tests := []struct {
		name   string
		keeper lastKeeper
		before []keeper.Event
		keep   bool
		quits  []bool
		drops  []string
	}{
		{name: "nothing lives", quits: []bool{false}},
		{name: "services stay", keep: true, keeper: lastKeeper{process: stub(wire.StateOpen)}, quits: []bool{true}},
		{name: "a stub at its gate", keeper: lastKeeper{stub: stub(wire.StateParked)}, quits: []bool{false, false}, drops: []string{"i"}},
		{
			name: "a stub on its way to its gate", keeper: lastKeeper{stub: stub(wire.StateParking)},
			before: []keeper.Event{keeper.Parked{Slot: *stub(wire.StateParked)}}, quits: []bool{false, false}, drops: []string{"i"},
		},
		{
			name: "another signal", keeper: lastKeeper{process: stub(wire.StateOpen)},
			before: []keeper.Event{signal(1), signal(10), signal(15)}, quits: []bool{false, true},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := &tt.keeper
			k.events = make(chan keeper.Event, 16)
			for _, e := range tt.before {
				k.events <- e
			}
			left := make(chan error, 1)
			go func() { left <- leave(k, 0, tt.keep) }()
			select {
			case err := <-left:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(time.Minute):
				t.Fatal("supd does not end")
			}
			if !cmp.Equal(k.quits, tt.quits) || !cmp.Equal(k.drops, tt.drops) {
				t.Errorf("asked to quit %v, dropped %v; want %v, %v", k.quits, k.drops, tt.quits, tt.drops)
			}
		})
	}
}

var _ executor.Launches = launches{}

// TestPriorityOf: what was obtained is said in one word for programs.
func TestPriorityOf(t *testing.T) {
	for features, want := range map[uint32]string{
		wire.FeatureRealTime: "real-time", wire.FeatureNice: "nice", wire.FeatureCgroup: "normal",
	} {
		if word, text := priorityOf(wire.Info{Features: features}); word != want || !strings.HasPrefix(text, want) {
			t.Errorf("features %b: %q, %q", features, word, text)
		}
	}
}
