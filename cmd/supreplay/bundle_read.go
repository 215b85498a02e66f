package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supd/journal/blocks"
	"supd/journal/output"
)

// Bounds of what is read from a bundle, in bytes.
const (
	maxRecord       = 64 << 20
	maxManifest     = 16 << 20
	maxBundleOutput = 256 << 20 // what reportOutput of empty lines takes, and more
)

var streams = [...]string{output.Stdout, output.Stderr}

// bundledLine is one line of output in a bundle.
type bundledLine struct {
	Service string    `json:"service"`
	Time    time.Time `json:"time"`
	Stream  string    `json:"stream"`
	Text    string    `json:"text"`
}

// writeRecord writes a record as it is stored: a line with its place in the
// stream, its length and its subject, and then its bytes, whatever they are.
func writeRecord(w io.Writer, e blocks.Entry) error {
	_, err := fmt.Fprintf(w, "%d %d %s\n%s\n", e.StreamSeq, len(e.Data), e.Subject, e.Data)
	return err
}

// recordsFile reads what writeRecord has written.
type recordsFile struct{ path string }

// Records is as that of blocks.Reader; an error is the last.
func (r recordsFile) Records(from uint64) iter.Seq2[blocks.Entry, error] {
	return func(yield func(blocks.Entry, error) bool) {
		f, err := os.Open(r.path)
		if err != nil {
			yield(blocks.Entry{}, err)
			return
		}
		defer f.Close()
		b := bufio.NewReaderSize(f, 256<<10)
		for at := int64(0); ; {
			e, n, err := readRecord(b)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(blocks.Entry{}, fmt.Errorf("the bundle's records cannot be read from byte %d on: %w", at, err))
				return
			}
			e.File, e.Offset = r.path, at+n-int64(len(e.Data))-1
			if at += n; e.StreamSeq >= from && !yield(e, nil) {
				return
			}
		}
	}
}

// readRecord reads one record and tells how many bytes it took. Memory grows
// with what is there and not with what a length says.
func readRecord(r *bufio.Reader) (e blocks.Entry, n int64, err error) {
	head, err := r.ReadSlice('\n')
	if err != nil {
		if len(head) > 0 || !errors.Is(err, io.EOF) {
			err = errors.New("it ends within a record, or is none")
		}
		return e, 0, err
	}
	size := 0
	n = int64(len(head))
	if _, err := fmt.Sscanf(string(head), "%d %d", &e.StreamSeq, &size); err != nil || size < 0 || size > maxRecord {
		return e, 0, errors.New("no record begins there")
	}
	if parts := strings.SplitN(strings.TrimSuffix(string(head), "\n"), " ", 3); len(parts) == 3 {
		e.Subject = parts[2]
	}
	var data bytes.Buffer
	if _, err := io.CopyN(&data, r, int64(size)+1); err != nil {
		return e, 0, errors.New("it ends within a record")
	}
	e.Data = data.Bytes()[:size]
	return e, n + int64(size) + 1, nil
}

// isBundle tells whether a folder is what bundle has packed.
func isBundle(folder string) bool {
	info, err := os.Lstat(filepath.Join(folder, bundleManifest))
	return err == nil && info.Mode().IsRegular()
}

// openUnpacked opens an unpacked bundle, after a look whether each file is the
// one that the manifest names. That finds accidents; whoever changes a file on
// purpose changes the manifest too, which only a checkpoint held elsewhere
// shows (P11).
func openUnpacked(folder string) (*source, error) {
	var m manifest
	text, err := readUpTo(filepath.Join(folder, bundleManifest), maxManifest)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("its manifest cannot be read: %w", err)
	case m.Format != bundleFormat:
		return nil, fmt.Errorf("it has format %d, and this supreplay reads format %d: use the one that made it (%s)", m.Format, bundleFormat, m.By)
	}
	listed := map[string]bool{}
	for _, f := range m.Files {
		if !filepath.IsLocal(f.Name) {
			return nil, fmt.Errorf("its manifest names %q, which leads out of it", f.Name)
		}
		if err := f.check(filepath.Join(folder, f.Name)); err != nil {
			return nil, fmt.Errorf("%s is not what the manifest says: %w", f.Name, err)
		}
		listed[f.Name] = true
	}
	if !listed[bundleRecords] {
		return nil, errors.New("its manifest names no records")
	}
	s := &source{name: folder, folder: folder, nodeID: m.NodeID, reader: recordsFile{filepath.Join(folder, bundleRecords)}}
	s.lines = map[string][]output.Line{}
	if listed[bundleOutput] {
		err = s.readLines(filepath.Join(folder, bundleOutput))
	}
	return s, err
}

func (f bundleFile) check(path string) error {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hang us
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(file, f.Size+1))
	switch {
	case err != nil:
		return err
	case n != f.Size:
		return fmt.Errorf("it has not %d bytes", f.Size)
	case hex.EncodeToString(sum.Sum(nil)) != f.SHA256:
		return errors.New("its hash is another one")
	}
	return nil
}

// readLines takes the output that is in a bundle.
func (s *source) readLines(path string) error {
	text, err := readUpTo(path, maxBundleOutput)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		var l bundledLine
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("its output cannot be read: %w", err)
		}
		s.lines[l.Service] = append(s.lines[l.Service], output.Line{Time: l.Time, Stream: l.Stream, Data: []byte(l.Text)})
	}
	return nil
}

// readUpTo reads a file that is not larger than expected.
func readUpTo(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hang us
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes", filepath.Base(path), most)
	}
	return b, err
}
