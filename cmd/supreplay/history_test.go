package main

import (
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"supd/cmd/internal/client"
	"supd/journal/blocks"
	"supd/journal/event"
)

// read runs the chain over records as if they had come from blocks.
func read(records []event.Encoded) (findings []*finding, seqs []event.Seq) {
	c := chain{src: &source{}, yield: func(s *step) bool {
		if s.finding != nil {
			findings = append(findings, s.finding)
		} else if !s.stray {
			seqs = append(seqs, s.rec.Record.Seq)
		}
		return true
	}}
	for i, e := range records {
		s := &step{entry: blocks.Entry{
			StreamSeq: uint64(i + 1), Data: e.Bytes, Offset: int64(i),
			Subject: event.RecordSubject(testNode, e.Record.Subject, e.Record.Kind),
		}}
		s.load(&reading{})
		c.record(s)
	}
	c.finish()
	return findings, seqs
}

// Whatever is done to the records of a journal behind its first and before
// its last one shows, and is named at its place or the record behind it.
func TestEveryChangeShows(t *testing.T) {
	t.Parallel()
	whole := whole(t).records[:70]
	if findings, seqs := read(whole); len(findings) != 0 || len(seqs) != len(whole) {
		t.Fatalf("the whole journal has findings: %v", findings)
	}
	reencode := func(t *rapid.T, r event.Record) event.Encoded {
		e, err := event.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	rapid.Check(t, func(t *rapid.T) {
		records := slices.Clone(whole)
		i := rapid.IntRange(1, len(records)-3).Draw(t, "at")
		what := rapid.SampledFrom([]string{"remove", "remove several", "swap", "twice", "time", "actor", "prev", "subject"}).Draw(t, "what")
		switch what {
		case "remove":
			records = slices.Delete(records, i, i+1)
		case "remove several":
			n := rapid.IntRange(1, len(records)-1-i).Draw(t, "n")
			records = slices.Delete(records, i, i+n)
		case "swap":
			j := rapid.IntRange(i+1, len(records)-2).Draw(t, "with")
			records[i], records[j] = records[j], records[i]
		case "twice":
			records = slices.Insert(records, i, records[rapid.IntRange(0, i).Draw(t, "copy")])
		case "time":
			r := records[i].Record
			r.Time = r.Time.Add(time.Nanosecond)
			records[i] = reencode(t, r)
		case "actor":
			r := records[i].Record
			r.Actor = "uid-0"
			records[i] = reencode(t, r)
		case "prev":
			r := records[i].Record
			r.Prev = event.Hash([]byte("else"))
			records[i] = reencode(t, r)
		case "subject":
			r := records[i].Record
			r.Subject += "x"
			records[i] = reencode(t, r)
		}
		findings, _ := read(records)
		if len(findings) == 0 {
			t.Fatalf("%s at record %d goes unseen", what, i+1)
		}
		if f := findings[0]; f.Grade != damage || f.First < 1 || f.First > event.Seq(i+2) {
			t.Fatalf("%s at record %d is found as %s", what, i+1, f)
		}
	})
}

// A changed prev and a changed record are told apart by the record behind.
func TestNamesTheAlteredOne(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*event.Record){
		func(r *event.Record) { r.Prev = event.Hash([]byte("else")) },
		func(r *event.Record) { r.Actor = "uid-0" },
	} {
		records := whole(t).records
		r := records[99].Record
		change(&r)
		e, err := event.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		records[99] = e
		findings, seqs := read(records)
		if len(findings) != 1 || findings[0].First != 100 || findings[0].Last != 100 || findings[0].What != altered {
			t.Errorf("findings: %v", findings)
		}
		if len(seqs) != len(records) || !slices.IsSorted(seqs) {
			t.Errorf("records come as %v", seqs)
		}
	}
}

func TestBytesThatAreNoRecord(t *testing.T) {
	t.Parallel()
	records := whole(t).records
	records[99].Bytes = []byte(`{"specversion":"1.0"}`)
	findings, _ := read(records)
	if len(findings) != 1 || findings[0].What != notARecord || findings[0].First != 100 || findings[0].Last != 100 {
		t.Errorf("findings: %v", findings)
	}
}

// at looks at the heads of most records alone. What was altered near a moment
// shows there as it shows in a reading of everything.
func TestAtKnowsWhatIsAltered(t *testing.T) {
	t.Parallel()
	records := whole(t).records[:70]
	warned := 0
	for i := range records {
		for _, what := range []string{"time", "prev"} {
			changed := slices.Clone(records)
			r := changed[i].Record
			if what == "time" {
				r.Mono++
			} else {
				r.Prev = event.Hash([]byte("else"))
			}
			e, err := event.Encode(r)
			if err != nil {
				t.Fatal(err)
			}
			changed[i] = e
			src := &source{reader: placed(changed)}
			var altogether []*finding
			for st := range src.history(reading{}) {
				if st.finding != nil && st.finding.What == altered {
					altogether = append(altogether, st.finding)
				}
			}
			for _, at := range changed[max(0, i-3):min(len(changed), i+4)] {
				seq := at.Record.Seq
				v, err := src.at(moment{seq: seq})
				if err != nil {
					continue // the fold cannot go on: that is told
				}
				want := slices.ContainsFunc(altogether, func(f *finding) bool { return f.First <= seq && seq <= f.Last })
				if got := len(v.warnings) > 0; got != want {
					t.Fatalf("%s of record %d altered: at %d warns %v, a whole reading %v", what, r.Seq, seq, v.warnings, altogether)
				}
				warned += len(v.warnings)
			}
		}
	}
	if warned == 0 {
		t.Error("nothing was ever warned of")
	}
}

// placed are records at their places in a stream.
type placed []event.Encoded

func (p placed) Records(from uint64) iter.Seq2[blocks.Entry, error] {
	return func(yield func(blocks.Entry, error) bool) {
		for i, e := range p {
			if uint64(i+1) >= from && !yield(blocks.Entry{StreamSeq: uint64(i + 1), Data: e.Bytes}, nil) {
				return
			}
		}
	}
}

func FuzzHistory(f *testing.F) {
	records := whole(f).records[:20]
	f.Add(records[0].Bytes, uint8(3))
	f.Add([]byte(`{"specversion":"1.0","id":"x","seq":4,"prev":""}`), uint8(4))
	f.Add([]byte("{"), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint8) {
		i := int(at) % len(records)
		changed := slices.Clone(records)
		changed[i].Bytes = b
		findings, seqs := read(changed)
		if i < len(records)-1 && event.Hash(b) != records[i].Hash && len(findings) == 0 {
			t.Error("a changed record goes unseen")
		}
		var state fold
		for _, e := range changed {
			if rec, err := event.Decode(e.Bytes); err == nil {
				state.feed(&step{rec: rec})
			}
		}
		_ = fmt.Sprint(findings, seqs)
	})
}

func BenchmarkVerify(b *testing.B) {
	folder := b.TempDir()
	s := newScenario(b)
	s.write(0, "", "supd", event.EngineStartedData{Version: "test", PID: 1, Mode: event.ModeFirst})
	s.write(0, "db", "supd", event.ServiceDefinedData{Spec: event.Spec{Command: []string{"/bin/db"}}, Digest: "d"})
	s.start("db", 1, event.ReasonAutostart)
	for run := 1; len(s.records) < 20_000; run++ {
		s.crash(run)
	}
	writeJournal(b, folder, s.records, -1)
	src, err := openSource(folder, client.Network{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if v := src.verify(nil); v.Result != resultIntact || v.Records != len(s.records) {
			b.Fatal(v.Findings)
		}
	}
	b.ReportMetric(float64(len(s.records)*b.N)/b.Elapsed().Seconds(), "records/s")
}
