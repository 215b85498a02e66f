package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/exitcode"
	"supd/journal/blocks"
)

// source is a state folder that is read.
type source struct {
	folder string
	nodeID string // empty if node.json is not readable
	reader *blocks.Reader
}

// stateDir is the local state folder, by the same rules as supd's.
func stateDir() (string, error) {
	if dir := os.Getenv("SUPD_STATE_DIR"); dir != "" {
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/supd", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "supd"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usage("cannot find the local state folder: %w; name a folder with --from", err)
	}
	return filepath.Join(home, ".local", "state", "supd"), nil
}

func openSource(folder string, notes io.Writer) (*source, error) {
	if folder == "" {
		var err error
		if folder, err = stateDir(); err != nil {
			return nil, err
		}
	}
	r, err := blocks.Open(filepath.Join(folder, "journal"))
	if err != nil {
		return nil, &coded{exitcode.Failed, explainOpen(folder, err)}
	}
	s := &source{folder: folder, reader: r}
	var node struct {
		NodeID string `json:"node_id"`
	}
	path := filepath.Join(folder, "node.json")
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &node) == nil {
			s.nodeID = node.NodeID
		}
	}
	if locked(filepath.Join(folder, "lock")) {
		fmt.Fprintf(notes, "supreplay: note: a supd is running on %s: this shows what was durable when it was read\n", folder)
	}
	return s, nil
}

// explainOpen adds what to do next to an error.
func explainOpen(folder string, err error) error {
	is := func(parts ...string) bool {
		_, err := os.Stat(filepath.Join(append([]string{folder}, parts...)...))
		return err == nil
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run it as the user that supd runs as, or on a copy that you may read", err)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case !is():
		return fmt.Errorf("cannot open journal: there is no folder %s: name the state folder with --from", folder)
	case is("jetstream"):
		return fmt.Errorf("cannot open journal: %s is a journal folder: name the state folder above it with --from", folder)
	}
	return fmt.Errorf("cannot open journal: %s holds no journal: --from takes a state folder, which has node.json and journal/ in it", folder)
}

// locked tells whether somebody holds a lock on the file. It reads the
// kernel's list instead of trying the lock: a lock that is tried is held for
// a moment, and a supd that starts in that moment would be refused.
func locked(path string) bool {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return false
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return false
	}
	defer f.Close()
	key := fmt.Sprintf(" %02x:%02x:%d ", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.Contains(lines.Text(), key) && strings.Contains(lines.Text(), " FLOCK ") {
			return true
		}
	}
	return false
}

// rel shortens a path below the folder for people.
func (s *source) rel(path string) string {
	if r, err := filepath.Rel(s.folder, path); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return path
}
