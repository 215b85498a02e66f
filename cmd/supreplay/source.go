package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/folders"
	"supd/journal/blocks"
	"supd/journal/output"
)

// records is where a journal is read from: block files, or a running supd.
type records interface {
	// Records is as that of blocks.Reader.
	Records(from uint64) iter.Seq2[blocks.Entry, error]
}

// source is a journal that is read, and what is beside it.
type source struct {
	name    string // for people: a folder, a file, a socket
	folder  string // state folder; empty if it is not readable from here
	nodeID  string // empty if it is not known
	reader  records
	running bool                     // a supd is at work on it
	answers endpoint                 // where it answers
	temp    []string                 // temporary folders
	lines   map[string][]output.Line // by service, of a bundle; nil: they are in the folder
}

// close removes what opening it has made.
func (s *source) close() {
	for _, dir := range s.temp {
		removeTemp(dir)
	}
	s.temp = nil
}

// openSource opens what --from names: a state folder, a bundle of one, the
// socket of a running supd or its URL; nothing is the local supd.
func openSource(from string, network client.Network, notes io.Writer) (*source, error) {
	at := endpoint{from, network}
	switch {
	case from == "":
		return openLocal(notes)
	case at.remote():
		return openRunning(at)
	}
	info, err := os.Stat(from)
	switch {
	case err == nil && info.Mode().Type() == fs.ModeSocket:
		return openRunning(at)
	case err == nil && info.Mode().IsRegular():
		return openBundle(from, notes)
	}
	return openFolder(from, notes)
}

// openLocal reads the local state folder, or asks the local supd if only that
// is permitted.
func openLocal(notes io.Writer) (*source, error) {
	s, err := openFolder(folders.State(), notes)
	if err == nil {
		return s, nil
	}
	if live, lost := openRunning(endpoint{address: folders.Socket()}); lost == nil {
		return live, nil
	}
	return nil, err
}

func openFolder(folder string, notes io.Writer) (*source, error) {
	if isBundle(folder) {
		s, err := openUnpacked(folder)
		if err != nil {
			return nil, &coded{exitcode.Failed, err}
		}
		return s, nil
	}
	r, err := blocks.Open(filepath.Join(folder, "journal"))
	if err != nil {
		return nil, &coded{exitcode.Failed, explainOpen(folder, err)}
	}
	s := &source{name: folder, folder: folder, reader: r, nodeID: nodeID(folder)}
	if locked(filepath.Join(folder, "lock")) {
		s.running, s.answers.address = true, folders.Socket()
		fmt.Fprintf(notes, "supreplay: note: a supd is running on %s: this shows what was durable when it was read\n", folder)
	}
	return s, nil
}

// nodeID reads node.json, which is secret and may be missing in a copy.
func nodeID(folder string) string {
	var node struct {
		NodeID string `json:"node_id"`
	}
	path := filepath.Join(folder, "node.json")
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
		return ""
	}
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &node) != nil {
		return ""
	}
	return node.NodeID
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
	if r, err := filepath.Rel(s.folder, path); s.folder != "" && err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return path
}
