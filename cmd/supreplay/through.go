package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/exitcode"
	"supd/journal/blocks"
)

// throughServer has supd's server read a copy of the files if their layout is
// not known here, or if that is forced. A server mends in silence, so that what
// is damaged shows less well; it is never done where the files themselves can be
// read.
func (s *source) throughServer(forced bool, notes io.Writer) error {
	r, ok := s.reader.(*blocks.Reader)
	if !ok {
		if forced {
			return usage("cannot read %s through a server on a copy: its files are not readable from here", s.name)
		}
		return nil
	}
	err := r.Layout()
	if err == nil && !forced {
		return nil
	}
	var strange *blocks.LayoutError
	if errors.As(err, &strange) {
		strange.File = s.rel(strange.File)
		if strange.Encrypted {
			return &coded{exitcode.Failed, err}
		}
	}
	why := "as asked"
	if strange != nil {
		why = strange.Error()
	}
	read, program, err := s.serve()
	certain := forced || strange.Certain
	switch {
	case err != nil && certain:
		return &coded{exitcode.Failed, fmt.Errorf("%s: %w", why, err)}
	case err != nil:
		fmt.Fprintf(notes, "supreplay: note: %s; it is shown as it is, because %v\n", why, err)
	case read == nil && !certain:
		fmt.Fprintf(notes, "supreplay: note: %s; the server of %s finds no record in it either\n", why, program)
	default:
		fmt.Fprintf(notes, "supreplay: note: read through the server of %s, on a temporary copy: %s; what a server mends in silence does not show\n", program, why)
		s.reader = read
	}
	return nil
}

// serve copies the files, has supd read the copy, and keeps what it gives; nil
// if there is no record.
func (s *source) serve() (records, string, error) {
	program, err := findSupd()
	if err != nil {
		return nil, "", err
	}
	dir, err := makeTemp()
	if err != nil {
		return nil, program, fmt.Errorf("cannot copy journal: %w; set TMPDIR to a folder with room", err)
	}
	s.temp = append(s.temp, dir)
	from, to := blocks.StreamDir(filepath.Join(s.folder, "journal")), filepath.Join(dir, "copy")
	if err := copyStream(from, to); err != nil {
		return nil, program, err
	}
	read := &served{file: filepath.Join(dir, "records"), shown: filepath.Join(s.folder, "journal")}
	if err := read.fill(program, to); err != nil {
		return nil, program, err
	}
	if err := os.RemoveAll(to); err != nil {
		return nil, program, fmt.Errorf("cannot remove the copy of the journal: %w", err)
	}
	any := false
	for _, err := range read.Records(0) { // all of it, so that an end that is cut off shows now
		if err != nil {
			return nil, program, err
		}
		any = true
	}
	if !any {
		return nil, program, nil
	}
	return read, program, nil
}

// findSupd finds the supd that belongs to this supreplay: the one beside it,
// else the one in PATH.
func findSupd() (string, error) {
	if own, err := os.Executable(); err == nil {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(own), "supd")); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("supd")
	if err != nil {
		return "", errors.New("no supd is beside supreplay or in PATH to read it with: put the supd that wrote it there")
	}
	return path, nil
}

// spare is room in bytes that a server wants beyond the records themselves.
const spare = 64 << 20

// copyStream copies the blocks of a stream and of its unfinished batches, plain
// files only. Its description stays where it is: supd makes one.
func copyStream(from, to string) error {
	var files []string
	var size int64
	for _, part := range []string{"msgs", "batches"} {
		err := filepath.WalkDir(filepath.Join(from, part), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a batch is done meanwhile, or none was ever begun
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				files, size = append(files, path), size+info.Size()
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot copy journal: %w", err)
		}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(to), &disk); err != nil {
		return fmt.Errorf("cannot copy journal: %w", err)
	}
	// The copy, and what is read from it.
	if need, room := 2*size+spare, int64(disk.Bavail)*disk.Bsize; need > room {
		return fmt.Errorf("cannot copy journal: that takes %d MiB and %s has %d MiB left: set TMPDIR to a folder with room",
			need>>20+1, os.TempDir(), room>>20)
	}
	if err := os.MkdirAll(filepath.Join(to, "msgs"), 0o700); err != nil {
		return fmt.Errorf("cannot copy journal: %w", err)
	}
	for _, path := range files {
		name, err := filepath.Rel(from, path)
		if err == nil {
			err = copyFile(path, filepath.Join(to, name))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot copy journal: %w", err)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	// A pipe in a folder from somewhere else must not hang us, nor a link lead out of it.
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// served is what a server read, in a file of blocks.Writer's form.
type served struct{ file, shown string }

// fill has a supd read a copy.
func (r *served) fill(program, folder string) error {
	out, err := os.OpenFile(r.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot keep what %s reads: %w", program, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), liveTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, blocks.ReadCopyVerb, folder)
	var said tailBuffer
	cmd.Stdout, cmd.Stderr = out, &said
	// It goes when we do, however that is; for that the thread that starts it must stay.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = errors.Join(cmd.Run(), out.Close())
	if err != nil {
		return fmt.Errorf("cannot read it with %s, which may be of another version: %w: %s", program, err, said.text())
	}
	return nil
}

// Records implements records.
func (r *served) Records(from uint64) iter.Seq2[blocks.Entry, error] {
	return func(yield func(blocks.Entry, error) bool) {
		f, err := os.Open(r.file)
		if err != nil {
			yield(blocks.Entry{}, err)
			return
		}
		defer f.Close()
		for e, err := range blocks.ReadWire(f) {
			if err == nil && e.StreamSeq < from {
				continue
			}
			e.File = r.shown
			if !yield(e, err) {
				return
			}
		}
	}
}

// tailBuffer keeps the end of what a program says.
type tailBuffer struct{ b []byte }

// Write implements io.Writer.
func (t *tailBuffer) Write(b []byte) (int, error) {
	const most = 4 << 10
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-most):]
	return len(b), nil
}

// text is the last line that is not an advice how to call it.
func (t *tailBuffer) text() string {
	last := ""
	for line := range bytes.Lines(t.b) {
		if s := strings.TrimSpace(string(line)); s != "" && !strings.HasPrefix(s, "Run `") {
			last = s
		}
	}
	return last
}
