// Package account is what services under test write down about themselves,
// outside of supd, and what checkers hold supd's journal and output against.
//
// In the folder of a test there are
//
//	account            one JSON line for each thing that a service did
//	violations         one line for each promise that a service saw broken
//	count/INSTANCE     how many lines it has written, mapped into its memory, so
//	                   that the number is right even after SIGKILL
//	lock/SERVICE       locked by the main process, lock/SERVICE.N by its child N
package account

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What an entry tells of.
const (
	Start = "start" // the main process holds its lock
	End   = "end"   // it is about to end as Code or Signal says, having written Lines
	Got   = "got"   // it got Signal
)

// Entry is one line of the account.
type Entry struct {
	What     string `json:"what"`
	Service  string `json:"service"`
	Instance string `json:"instance"`
	PID      int    `json:"pid"`
	Code     int    `json:"code"`
	Signal   string `json:"signal,omitempty"` // as SIGTERM
	Lines    Lines  `json:"lines"`
}

// Lines counts lines written to stdout and stderr.
type Lines [2]uint64

// Write appends the entry in one write, so that entries of several processes
// never mix.
func Write(dir string, e Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return appendLine(filepath.Join(dir, "account"), b)
}

// Violated notes that a service saw a promise broken.
func Violated(dir, format string, args ...any) error {
	return appendLine(filepath.Join(dir, "violations"), fmt.Appendf(nil, format, args...))
}

func appendLine(path string, line []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// Read returns all entries in the order in which they were written.
func Read(dir string) ([]Entry, error) {
	lines, err := readLines(filepath.Join(dir, "account"))
	entries := make([]Entry, 0, len(lines))
	for _, line := range lines {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("cannot read account: %w", err)
		}
		entries = append(entries, e)
	}
	return entries, err
}

// Violations returns what services saw broken.
func Violations(dir string) ([]string, error) { return readLines(filepath.Join(dir, "violations")) }

func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	return lines, s.Err()
}

// Lock takes the lock of a name until the process ends; false if another
// process holds it. Programs that the process executes do not inherit it.
func Lock(dir, name string) (bool, error) {
	path := filepath.Join(dir, "lock", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return false, err
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return false, err
	}
	for {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, unix.Close(fd)
	}
	return err == nil, err
}

// Counter is the number of lines that one instance has written.
type Counter struct{ mem []byte }

// NewCounter maps the counter of an instance.
func NewCounter(dir, instance string) (*Counter, error) {
	path := filepath.Join(dir, "count", instance)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(16); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, 16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return &Counter{mem}, err
}

// Set stores the number for stdout (0) or stderr (1). Each has one writer.
func (c *Counter) Set(stream int, n uint64) {
	binary.LittleEndian.PutUint64(c.mem[8*stream:], n)
}

// Get returns both numbers of this process's own counter.
func (c *Counter) Get() Lines {
	return Lines{binary.LittleEndian.Uint64(c.mem), binary.LittleEndian.Uint64(c.mem[8:])}
}

// Counted returns how many lines an instance has written, as far as it could
// still say: one line more may be in the pipe on each stream if it was killed.
func Counted(dir, instance string) (Lines, error) {
	b, err := os.ReadFile(filepath.Join(dir, "count", instance))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) < 16 {
		return Lines{}, nil
	}
	if err != nil {
		return Lines{}, err
	}
	return Lines{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}, nil
}
