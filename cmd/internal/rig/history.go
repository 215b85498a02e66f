package rig

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"supd/cmd/internal/schema"
	"supd/journal/blocks"
	"supd/journal/event"
	"supd/projector"
)

// vocabulary is where the published schemas come from, seen from a package two
// folders below cmd.
const vocabulary = "../../../journal/event"

// History is the journal as it lies on disk, after supd has ended.
type History []event.Encoded

// History reads the journal's files and checks that they are one unbroken
// chain from the first record on, each record as its kind's schema says.
func (r *Rig) History() History {
	r.t.Helper()
	reader, err := blocks.Open(filepath.Join(r.State, "journal"))
	if err != nil {
		r.t.Fatal(err)
	}
	schemas, err := schema.NewChecker(vocabulary)
	if err != nil {
		r.t.Fatal(err)
	}
	var h History
	prev := event.Genesis
	for entry, err := range reader.Records(0) {
		if err != nil {
			r.t.Fatalf("the journal is damaged: %v", err)
		}
		e, err := event.Decode(slices.Clone(entry.Data))
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Record.Seq != event.Seq(len(h)+1) || e.Record.Prev != prev {
			r.t.Fatalf("record %d follows record %d: seq or prev is wrong", e.Record.Seq, len(h))
		}
		if err := schemas.Check(e.Bytes); err != nil {
			r.t.Fatalf("record %d is not as published: %v", e.Record.Seq, err)
		}
		prev, h = e.Hash, append(h, e)
	}
	return h
}

// Fold is the state after the record seq.
func (r *Rig) Fold(h History, seq event.Seq) *projector.State {
	r.t.Helper()
	s := projector.New()
	for _, e := range h[:seq] {
		if err := s.Apply(e); err != nil {
			r.t.Fatalf("cannot fold record %d: %v", e.Record.Seq, err)
		}
	}
	return s
}

// Of returns the data of all records of one kind, in order.
func Of[D event.Data](h History) []D {
	var all []D
	for _, e := range h {
		if d, ok := e.Record.Data.(D); ok {
			all = append(all, d)
		}
	}
	return all
}

func gunzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// Output is all that is kept of one stream of a service, oldest first.
func (r *Rig) Output(service, stream string) string {
	r.t.Helper()
	dir := filepath.Join(r.State, "output", service)
	closed, err := filepath.Glob(filepath.Join(dir, stream+".log.*"))
	if err != nil {
		r.t.Fatal(err)
	}
	number := func(path string) int {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), stream+".log."), ".gz"))
		if err != nil {
			r.t.Fatalf("a strange file is in the output: %s", path)
		}
		return n
	}
	slices.SortFunc(closed, func(a, b string) int { return number(a) - number(b) })
	var all strings.Builder
	for _, path := range append(closed, filepath.Join(dir, stream+".log")) {
		b, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(path, ".gz") {
			b, err = gunzip(b)
		}
		if err != nil && !os.IsNotExist(err) {
			r.t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}
