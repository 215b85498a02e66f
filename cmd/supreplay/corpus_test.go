package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"supd/journal/event"
)

var rewrite = flag.Bool("rewrite", false, "record journals of the corpus that are missing; those that are there are never written again")

// corpus is the recorded journals: one record a line, as it was stored.
func corpus(t testing.TB) map[string][]event.Encoded {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no corpus: %v", err)
	}
	all := map[string][]event.Encoded{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl.gz")
		for line := range bytes.Lines(text) {
			e, err := event.Decode(bytes.TrimSuffix(line, []byte("\n")))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all[name] = append(all[name], e)
		}
	}
	return all
}

// recordCorpus records a journal for each scenario that has none yet. A
// recorded journal stays as it is for ever: it is what an old supd has written,
// and a new one has to read it and to decide the same (P6). To record a
// scenario anew, give it another name.
func recordCorpus(t *testing.T) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		file := filepath.Join("testdata/corpus", name+".jsonl.gz")
		if _, err := os.Stat(file); err == nil {
			continue
		}
		r := newRecorder(t)
		scenarios[name](r)
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		for _, e := range r.records {
			_, _ = z.Write(append(e.Bytes, '\n'))
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d records, violations %v", name, len(r.records), r.w.Violations)
	}
}

// What was decided then is decided now, byte by byte.
func TestCorpusIsDecidedTheSame(t *testing.T) {
	t.Parallel()
	if *rewrite {
		recordCorpus(t)
	}
	all := corpus(t)
	for name := range scenarios {
		if all[name] == nil {
			t.Errorf("there is no journal of %s: go test ./cmd/supreplay -run CorpusIsDecided -rewrite", name)
		}
	}
	for name, records := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findings, seqs := read(records)
			if len(findings) != 0 || len(seqs) != len(records) {
				t.Fatalf("the journal is not whole: %v", findings)
			}
			d := redecider{records: records}
			if err := d.run(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d of %d records were decided again", d.decided, len(records))
			if d.decided < len(records)*3/4 {
				t.Errorf("only %d of %d records were decided again", d.decided, len(records))
			}
		})
	}
}

// The policy that was recorded, supposed to be another one, changes nothing,
// and each journal is followed to its end.
func TestSupposeTheSame(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "same.toml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	policies, err := readPolicies(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, records := range corpus(t) {
		src := &source{reader: inMemory(records)}
		answer, err := src.whatIf(query{}, policies, func(f *finding) { t.Error(f) })
		if err != nil || len(answer.Services) == 0 {
			t.Fatalf("%s: %v %v", name, answer, err)
		}
		for _, a := range answer.Services {
			if a.Differing != 0 || a.Missing != 0 || a.Lost != "" || a.Recorded != a.Would {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
}

// A decider that decides otherwise is found: the same journals with another
// delay in one decision.
func TestCorpusFindsAnotherDecision(t *testing.T) {
	t.Parallel()
	records := corpus(t)["crash-loop"]
	changed := false
	prev := event.Genesis
	for i, e := range records {
		r := e.Record
		if d, ok := r.Data.(event.RestartScheduledData); ok && d.Retry == 3 && !changed {
			d.Delay += event.Duration(time.Millisecond)
			r.Data, changed = d, true
		}
		r.Prev = prev
		e, err := event.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		records[i], prev = e, e.Hash
	}
	d := redecider{records: records}
	if err := d.run(); !changed || err == nil || !errors.Is(err, errOther) && !strings.Contains(err.Error(), errOther.Error()) {
		t.Errorf("it goes unseen: %v", err)
	}
}
