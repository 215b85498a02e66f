package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"supd/cmd/internal/config"
	"supd/journal/event"
)

func newApplied(t *testing.T) applied {
	t.Helper()
	dir := t.TempDir()
	a := applied{state: filepath.Join(dir, "state"), runtime: filepath.Join(dir, "run")}
	for _, d := range []string{a.state, a.runtime} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

const secret = "hunter2-is-no-good"

func secretSet() *config.Set {
	return &config.Set{
		Supd: config.Supd{Node: "n"},
		Services: []config.Service{{
			Name: "web",
			Spec: event.Spec{
				Base: "web", CommandLine: true, Command: []string{"/bin/web --pass ${PASS}"}, Environment: event.Environment{Names: []string{"PASS"}},
				Type: event.TypeSimple, StartTimeout: event.Duration(event.DefaultStartTimeout), Hooks: event.Hooks{PreStop: []string{"/bin/drain ${PASS}"}},
			},
			Launch: event.Launch{
				Paths: []string{"/bin/web"}, Args: []string{"/bin/web", "--pass", secret}, Env: []string{"PASS=" + secret},
				Hooks: map[string]event.LaunchExec{event.HookPreStop: {Paths: []string{"/bin/drain"}, Args: []string{"/bin/drain", secret}}},
			},
			ExplicitEnv: []string{"PASS=" + secret},
		}},
	}
}

// private checks that nobody else can read what is below a folder: files are
// 0600, and folders in between 0700.
func private(t *testing.T, root string) (files int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if info.Mode().Perm() != want {
			t.Errorf("P10: %s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return files
}

func TestPendingRoundTrip(t *testing.T) {
	a, set := newApplied(t), secretSet()
	if _, _, err := a.pending(); err == nil {
		t.Error("nothing was prepared, and it is read")
	}
	for range 2 { // a second one replaces the first
		if err := a.prepare(set); err != nil {
			t.Fatal(err)
		}
	}
	got, raw, err := a.pending()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(set, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !bytes.Contains(raw, []byte(secret)) {
		t.Error("the secret, which the service needs, is lost")
	}
	if n := private(t, a.runtime); n != 1 {
		t.Errorf("%d files", n)
	}
}

// until polls for what a goroutine of ours does.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestStoreAndLoad(t *testing.T) {
	a, set := newApplied(t), secretSet()
	raw, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.store(raw, "d1"); err != nil {
		t.Fatal(err)
	}
	copies := []string{filepath.Join(a.runtime, appliedDir, "d1.json"), filepath.Join(a.state, appliedDir, "d1.json")}
	until(t, "a copy in the state folder", func() bool { return exists(copies[1]) })
	private(t, a.runtime)
	private(t, a.state)
	load := func(when string) {
		t.Helper()
		got, err := a.load("d1")
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if diff := cmp.Diff(set, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	load("from both")
	if err := os.WriteFile(copies[0], []byte(`{"supd":`), 0o600); err != nil {
		t.Fatal(err)
	}
	load("with a damaged copy in the runtime folder")
	if err := os.Remove(copies[0]); err != nil {
		t.Fatal(err)
	}
	load("from the state folder alone")
	if _, err := a.load("d2"); err == nil || !strings.Contains(err.Error(), "cannot read the applied configuration") {
		t.Errorf("another digest: %v", err)
	}
}

// The state folder's disk may be full or gone: services start all the same
// (P5).
func TestStoreWithoutStateFolder(t *testing.T) {
	a := newApplied(t)
	a.state = os.DevNull // nothing can be below it
	if err := a.store([]byte("{}"), "d"); err != nil {
		t.Error(err)
	}
	if _, err := a.load("d"); err != nil {
		t.Error(err)
	}
}

func TestStoredConfigurationsAreBounded(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, appliedDir)
	for i := range 30 {
		digest := fmt.Sprintf("d%02d", i)
		if err := storeIn(dir, []byte("{}"), digest, i%2 == 0); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, digest+".json")
		if !exists(path) {
			t.Fatalf("%s was pruned at once", digest)
		}
		// Later ones are younger, whatever the file system's clock says.
		at := time.Unix(int64(1_000_000+i), 0)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		if i == 3 { // what a crash may leave
			if err := os.WriteFile(filepath.Join(folder, "dead.json.new"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(filepath.Join(folder, "dead.json.new"), at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"d22.json", "d23.json", "d24.json", "d25.json", "d26.json", "d27.json", "d28.json", "d29.json"}; !cmp.Equal(names, want) {
		t.Errorf("P9: %v are left", names)
	}
}

func TestWritePrivateReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	// A file that somebody opened to others, and what a crash left.
	for _, p := range []string{path, path + ".new"} {
		if err := os.WriteFile(p, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := writePrivate(path, []byte("new"), true); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	info, err := os.Stat(path)
	if err != nil || string(b) != "new" || info.Mode().Perm() != 0o600 || exists(path+".new") {
		t.Errorf("%q, %v, %v", b, info.Mode(), err)
	}
	if err := writePrivate(filepath.Join(path, "below"), nil, false); err == nil {
		t.Error("it was written below a file")
	}
}

func TestKeyed(t *testing.T) {
	a, b := []byte("key a"), []byte("key b")
	if one, again := keyed(a, "x", "y"), keyed(a, "x", "y"); one != again {
		t.Error("the same differs")
	}
	if keyed(a, "x") == keyed(b, "x") {
		t.Error("P10: the key is not in it")
	}
	different := [][]string{{}, {""}, {"x"}, {"x", ""}, {"", "x"}, {"xy"}, {"x", "y"}, {"1:x"}, {"y", "x"}}
	seen := map[string][]string{}
	for _, parts := range different {
		d := keyed(a, parts...)
		if other, ok := seen[d]; ok {
			t.Errorf("%q and %q are the same", parts, other)
		}
		seen[d] = parts
	}
}

// What the journal learns of a service holds no value of its environment, but
// changes with it (P10, R11).
func TestDefinitionsHoldNoSecrets(t *testing.T) {
	set, key := secretSet(), []byte("key")
	defs, starts := definitions(set, key)
	b, err := json.Marshal(defs)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte(secret)) {
		t.Errorf("P10: the secret is in %s", b)
	}
	digest := func(key string, change func(*config.Service)) string {
		set := secretSet()
		change(&set.Services[0])
		defs, _ := definitions(set, []byte(key))
		return defs[0].Spec.Digest()
	}
	same := digest("key", func(*config.Service) {})
	if same != defs[0].Spec.Digest() {
		t.Error("the same configuration has another digest: a restart for nothing (P7)")
	}
	for name, other := range map[string]string{
		"another key":   digest("key 2", func(*config.Service) {}),
		"another value": digest("key", func(s *config.Service) { s.ExplicitEnv = []string{"PASS=other"} }),
		"another hook": digest("key", func(s *config.Service) {
			s.Launch.Hooks[event.HookPreStop] = event.LaunchExec{Args: []string{"/bin/drain", "other"}}
		}),
		"another argument": digest("key", func(s *config.Service) { s.Launch.Args[2] = "other" }),
	} {
		if other == same {
			t.Errorf("%s has the same digest", name)
		}
	}
	if set.Services[0].Spec.Environment.Digest != "" {
		t.Error("the configuration itself was changed")
	}
	got, err := starts.Launch("web", same)
	if err != nil || got.Args[2] != secret {
		t.Errorf("%+v, %v", got, err)
	}
	for _, unknown := range [][2]string{{"web", "other"}, {"db", same}, {"web", ""}} {
		if _, err := starts.Launch(unknown[0], unknown[1]); err == nil || !strings.Contains(err.Error(), "cannot start "+unknown[0]) {
			t.Errorf("%v: %v", unknown, err)
		}
	}
}
