package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"supd/cmd/internal/config"
	"supd/executor/policy"
	"supd/journal/event"
)

// applied is where resolved configurations are stored by digest: in the
// runtime folder, from which services are started, and in the state folder.
// The files hold environment values and are for supd alone (P10, R11).
type applied struct{ state, runtime string }

const (
	appliedDir  = "applied"
	pendingFile = "pending.json" // what supd run wants applied, before it has a digest
)

func (a applied) pendingPath() string { return filepath.Join(a.runtime, pendingFile) }

// prepare leaves a configuration for the first engine to apply.
func (a applied) prepare(set *config.Set) error {
	b, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("cannot store the configuration: %w", err)
	}
	return writePrivate(a.pendingPath(), b, false)
}

// pending reads what prepare left.
func (a applied) pending() (*config.Set, []byte, error) {
	b, err := os.ReadFile(a.pendingPath())
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the configuration to apply: %w", err)
	}
	set, err := parseSet(b)
	return set, b, err
}

func parseSet(b []byte) (*config.Set, error) {
	var set config.Set
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("cannot read a stored configuration: %w", err)
	}
	return &set, nil
}

// store keeps a configuration under its digest. The copy in the state folder
// is written in the background: a full or hanging disk must not keep services
// from starting (P5); the next apply writes it again.
func (a applied) store(b []byte, digest string) error {
	if err := storeIn(a.runtime, b, digest, false); err != nil {
		return err
	}
	go func() { _ = storeIn(a.state, b, digest, true) }()
	return nil
}

// storeIn writes one copy; a synced one survives power loss. It never removes
// the one with the digest current, which is what services start with.
func storeIn(folder string, b []byte, digest string, sync bool, current ...string) error {
	dir := filepath.Join(folder, appliedDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot store the configuration: %w", err)
	}
	path := filepath.Join(dir, digest+".json")
	if err := writePrivate(path, b, sync); err != nil {
		return err
	}
	keep := []string{filepath.Base(path)}
	for _, d := range current {
		keep = append(keep, d+".json")
	}
	return prune(dir, keep...)
}

// prune keeps the newest files of the folder, which is supd's own (P9).
func prune(dir string, keep ...string) error {
	const kept = 8
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= kept {
		return err
	}
	type aged struct {
		name string
		at   time.Time
	}
	var oldest aged
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || slices.Contains(keep, e.Name()) {
			continue
		}
		if oldest.name == "" || info.ModTime().Before(oldest.at) {
			oldest = aged{e.Name(), info.ModTime()}
		}
	}
	if oldest.name == "" {
		return nil
	}
	return os.Remove(filepath.Join(dir, oldest.name))
}

// load reads a stored configuration by its digest.
func (a applied) load(digest string) (*config.Set, error) {
	var failed error
	for _, folder := range []string{a.runtime, a.state} {
		b, err := os.ReadFile(filepath.Join(folder, appliedDir, digest+".json"))
		if err == nil {
			var set *config.Set
			if set, err = parseSet(b); err == nil {
				return set, nil
			}
		}
		failed = errors.Join(failed, err)
	}
	return nil, fmt.Errorf("cannot read the applied configuration: %w", failed)
}

func writePrivate(path string, b []byte, sync bool) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot store the configuration: %w", err)
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot store the configuration: %w", err)
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync() // before the rename: no name ever leads to half a file
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("cannot store the configuration: %w", err)
	}
	return nil
}

// keyed is a digest that tells nothing to whoever lacks the node's key: the
// values of short secrets cannot be guessed from it.
func keyed(key []byte, parts ...string) string {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// keyedFiles are the files as records name them: a plain hash of a file would
// let readers of the journal guess a short secret that is in it (P10).
func keyedFiles(files []event.ConfigFile, key []byte) []event.ConfigFile {
	out := make([]event.ConfigFile, 0, len(files))
	for _, f := range files {
		out = append(out, event.ConfigFile{Path: f.Path, SHA256: keyed(key, f.SHA256)})
	}
	return out
}

// definitions turns a configuration into what the journal may know of it, and
// what is needed to start its services.
func definitions(set *config.Set, key []byte) ([]policy.Definition, launches) {
	defs := make([]policy.Definition, 0, len(set.Services))
	starts := make(launches, len(set.Services))
	var share event.Sharing // these stay in memory
	for _, s := range set.Services {
		spec := s.Spec
		parts := s.ExplicitEnv
		if spec.CommandLine && strings.Contains(strings.Join(spec.Command, ""), "$") {
			// The expanded arguments are covered too: a value that only the command
			// line uses changes what runs.
			parts = append([]string{strings.Join(s.Launch.Args, "\x00")}, parts...)
		}
		spec.Environment.Digest = keyed(key, slices.Concat(parts, expanded(spec, s.Launch))...)
		share.Spec(&spec)
		share.Launch(&s.Launch)
		defs = append(defs, policy.Definition{Name: s.Name, Spec: spec})
		starts[s.Name] = start{spec.Digest(), s.Launch}
	}
	return defs, starts
}

// expanded are the arguments of hooks and probes where they differ from what
// is written: then a value that only they use changes what runs, too.
func expanded(spec event.Spec, launch event.Launch) []string {
	var parts []string
	add := func(name string, written []string, x event.LaunchExec) {
		if !slices.Equal(written, x.Args) {
			parts = append(parts, name+"\x00"+strings.Join(x.Args, "\x00"))
		}
	}
	for _, hook := range slices.Sorted(maps.Keys(launch.Hooks)) {
		add(hook, spec.Hooks.Command(hook), launch.Hooks[hook])
	}
	if launch.ReadyExec != nil && spec.Ready != nil {
		add("ready", spec.Ready.Exec, *launch.ReadyExec)
	}
	if launch.HealthExec != nil && spec.Health != nil {
		add("health", spec.Health.Exec, *launch.HealthExec)
	}
	return parts
}

// launches is what starts services. It belongs to the loop's goroutine.
type launches map[string]start

type start struct {
	digest string
	launch event.Launch
}

// Launch implements executor.Launches.
func (l launches) Launch(service, digest string) (event.Launch, error) {
	s, ok := l[service]
	if !ok || s.digest != digest {
		return event.Launch{}, fmt.Errorf("cannot start %s: its applied specification %.12s… is not stored; apply the configuration again", service, digest)
	}
	return s.launch, nil
}
