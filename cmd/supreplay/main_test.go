package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"supd/cmd/internal/client"
	"supd/journal/blocks"
	"supd/journal/event"
	"supd/projector"
)

func TestMain(m *testing.M) {
	if os.Getenv("SUPREPLAY_TEST_MAIN") != "" { // the child of TestStepOnATerminal
		main()
		return
	}
	testscript.Main(m, map[string]func(){"supreplay": main})
}

// journals makes each journal once and gives every script its own copy.
type journals struct {
	t    testing.TB
	dir  string
	mu   sync.Mutex
	made map[string]bool
}

func (j *journals) copyTo(name, to string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	folder := filepath.Join(j.dir, name)
	if !j.made[name] {
		maxMsgs := int64(-1)
		if name == "headless" {
			maxMsgs = 190
		}
		writeJournal(j.t, folder, tampered(j.t, name), maxMsgs)
		j.made[name] = true
	}
	return os.CopyFS(to, os.DirFS(folder))
}

func TestScripts(t *testing.T) {
	j := &journals{t: t, dir: t.TempDir(), made: map[string]bool{}}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command of a race build sleeps 1 s at its end
			env.Setenv("SUPD_STATE_DIR", "")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			return cond == "root" && os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"journal": func(ts *testscript.TestScript, _ bool, args []string) { // journal NAME FOLDER
				ts.Check(j.copyTo(args[0], ts.MkAbs(args[1])))
			},
			"flip": func(ts *testscript.TestScript, _ bool, args []string) { // flip FOLDER SEQ: a bit in the record
				e := findRecord(ts, args)
				editBlock(ts, e.File, func(b []byte) []byte { b[e.Offset+100] ^= 1; return b })
			},
			"cut": func(ts *testscript.TestScript, _ bool, args []string) { // cut FOLDER SEQ: the file ends in the record
				e := findRecord(ts, args)
				editBlock(ts, e.File, func(b []byte) []byte { return b[:e.Offset+100] })
			},
			"code": func(ts *testscript.TestScript, _ bool, args []string) { // code N supreplay ARGS…: with this exit code
				err := ts.Exec(args[1], args[2:]...)
				got := 0
				if err != nil {
					exit, ok := err.(*exec.ExitError)
					if !ok {
						ts.Fatalf("%v", err)
					}
					got = exit.ExitCode()
				}
				if strconv.Itoa(got) != args[0] {
					ts.Fatalf("exit code %d, want %s", got, args[0])
				}
			},
			"untouched": func(ts *testscript.TestScript, _ bool, args []string) { // untouched FOLDER: as at the first call
				now := fingerprint(ts, ts.MkAbs(args[0]))
				if before := ts.Getenv("FINGERPRINT"); before != "" && before != now {
					ts.Fatalf("the folder was changed:\n%s\n%s", before, now)
				}
				ts.Setenv("FINGERPRINT", now)
			},
			"recorded": func(ts *testscript.TestScript, _ bool, args []string) { // recorded NAME FOLDER: of the corpus, or quiet
				records := corpus(t)[args[0]]
				if args[0] == "quiet" {
					records = corpus(t)["crash-loop"][:8]
				}
				writeJournal(t, ts.MkAbs(args[1]), records, -1)
			},
			"page": describePage, // page FILE: what is packed in it
			"hold": func(ts *testscript.TestScript, _ bool, args []string) { // hold FILE: lock it until the script ends
				f, err := os.Open(ts.MkAbs(args[0]))
				ts.Check(err)
				ts.Check(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
				ts.Defer(func() { f.Close() })
			},
		},
	})
}

func findRecord(ts *testscript.TestScript, args []string) blocks.Entry {
	r, err := blocks.Open(filepath.Join(ts.MkAbs(args[0]), "journal"))
	ts.Check(err)
	for e := range r.Records(0) {
		if rec, err := event.Decode(e.Data); err == nil && fmt.Sprint(rec.Record.Seq) == args[1] {
			return e
		}
	}
	ts.Fatalf("no record %s", args[1])
	return blocks.Entry{}
}

func editBlock(ts *testscript.TestScript, file string, f func([]byte) []byte) {
	b, err := os.ReadFile(file)
	ts.Check(err)
	ts.Check(os.WriteFile(file, f(b), 0o600))
}

// fingerprint covers names, sizes, times and contents of a tree.
func fingerprint(ts *testscript.TestScript, dir string) string {
	h := sha256.New()
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(h, path, info.Size(), info.Mode(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			_, _ = h.Write(b)
		}
		return nil
	}))
	return fmt.Sprintf("%x", h.Sum(nil))
}

// at gives, for every record, the state that a supd had after it.
func TestStateAtEveryRecord(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	records := whole(t).records
	writeJournal(t, folder, records, -1)
	src, err := openSource(folder, client.Network{}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	want := projector.New()
	for _, e := range records {
		if err := want.Apply(e); err != nil {
			t.Fatal(err)
		}
		if e.Record.Seq%7 != 0 && e.Record.Seq < 230 {
			continue
		}
		v, err := src.at(moment{seq: e.Record.Seq})
		if err != nil {
			t.Fatal(err)
		}
		if v.state.Hash() != e.Hash || string(v.state.Canonical()) != string(want.Canonical()) {
			t.Fatalf("the state at record %d is not what it was", e.Record.Seq)
		}
	}
	// Records of one time are all in the state of that time.
	last := records[239].Record
	v, err := src.at(moment{at: last.Time})
	if err != nil || v.last.Seq != last.Seq {
		t.Fatalf("at the last time: %v %v", v, err)
	}
}

func TestParseMoment(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("X", 2*3600)
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, zone)
	for text, want := range map[string]string{
		"512":                  "record 512",
		"now":                  "2026-03-04 12:00:00 X",
		"03:12":                "2026-03-04 03:12:00 X",
		"03:12:40":             "2026-03-04 03:12:40 X",
		"23:00":                "2026-03-03 23:00:00 X",
		"10m ago":              "2026-03-04 11:50:00 X",
		"1h30m":                "2026-03-04 10:30:00 X",
		"2026-03-01 07:08":     "2026-03-01 07:08:00 X",
		"2026-03-01T07:08:09":  "2026-03-01 07:08:09 X",
		"2026-03-01":           "2026-03-01 00:00:00 X",
		"2026-03-01T07:08:09Z": "2026-03-01 07:08:09 UTC",
	} {
		m, err := parseMoment(text, now)
		if err != nil || m.String() != want {
			t.Errorf("%q is %v (%v), want %s", text, m, err, want)
		}
	}
	for _, text := range []string{"", "0", "-5m", "yesterday", "25:00", "3rd crash"} {
		if m, err := parseMoment(text, now); err == nil {
			t.Errorf("%q is read as %v", text, m)
		}
	}
}

// The JSON of verify has every key, with null for what is absent.
func TestVerdictJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(&verdict{Findings: []*finding{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{`"first":null`, `"checkpoint":null`, `"findings":[]`, `"from":null`} {
		if !strings.Contains(string(b), key) {
			t.Errorf("%s is not in %s", key, b)
		}
	}
}

func TestLinksNoServer(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(dep, "github.com/nats-io/nats-server") {
			t.Errorf("supreplay imports %s: it has to work where no server is, and stay small", dep)
		}
	}
}
