package main

import (
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supd/cmd/internal/bench/bigjournal"
	"supd/journal/event"
)

// Everything comes in its order and once, and a reader that has enough leaves
// no goroutine behind.
func TestPipeline(t *testing.T) {
	folder := t.TempDir()
	n, err := bigjournal.Write(folder, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	src, err := openSource(folder, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, full := range []depth{nil, headsOnly, func(r *event.Record) bool { return r.Seq%3 == 0 }} {
		next := event.Seq(1)
		for st := range src.history(reading{full: full}) {
			if st.finding != nil || st.rec.Record.Seq != next {
				t.Fatalf("at %d comes %+v", next, st)
			}
			if r := st.rec.Record; (full == nil || full(&event.Record{Seq: r.Seq})) && r.Data == nil {
				t.Fatalf("record %d was to be decoded", r.Seq)
			}
			next++
		}
		if int(next)-1 != n {
			t.Fatalf("%d records of %d", next-1, n)
		}
	}
	for _, enough := range []event.Seq{1, 255, 256, 257, 9000} {
		for st := range src.history(reading{}) {
			if st.rec.Record.Seq == enough {
				break
			}
		}
	}
	if v := src.verify(nil); v.Result != resultIntact || v.Records != n {
		t.Errorf("%d records: %v", v.Records, v.Findings)
	}
}

// A stepper is at the same place, with the same state, by whatever way it came.
func TestStepperFindsItsWay(t *testing.T) {
	folder := t.TempDir()
	n, err := bigjournal.Write(folder, 5000)
	if err != nil {
		t.Fatal(err)
	}
	src, err := openSource(folder, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newStepper(src)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []event.Seq{event.Seq(n), 1, 1024, 1025, 3000, 2047, 2048, 2049, 17} {
		if err := s.gotoSeq(seq); err != nil || s.here().Seq != seq {
			t.Fatalf("at %d: %v %v", seq, s.here().Seq, err)
		}
		v, err := src.at(moment{seq: seq})
		if err != nil {
			t.Fatal(err)
		}
		if state, why := s.state(); state == nil || string(state.Canonical()) != string(v.state.Canonical()) {
			t.Fatalf("at %d the state is another one %s", seq, why)
		}
		if err := s.gotoMoment(moment{at: s.here().Time}); err != nil || s.here().Seq != seq {
			t.Fatalf("at the time of %d: %d %v", seq, s.here().Seq, err)
		}
	}
	if err := s.gotoSeq(1020); err != nil {
		t.Fatal(err)
	}
	for want := event.Seq(1021); want < 1030; want++ {
		if err := s.move(true, ""); err != nil || s.here().Seq != want {
			t.Fatal(s.here().Seq, want, err)
		}
	}
	for want := event.Seq(1028); want > 1015; want-- {
		if err := s.move(false, ""); err != nil || s.here().Seq != want {
			t.Fatal(s.here().Seq, want, err)
		}
	}
	if err := s.gotoMoment(moment{at: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}); err == nil {
		t.Error("a time before the journal was found")
	}
}

func BenchmarkMillion(b *testing.B) {
	folder := b.TempDir()
	n, err := bigjournal.Write(folder, 1_000_000)
	if err != nil {
		b.Fatal(err)
	}
	for _, args := range [][]string{{"verify"}, {"at", "999000"}, {"timeline"}, {"timeline", "--service", "service-07"}, {"why", "service-07"}} {
		b.Run(args[0], func(b *testing.B) {
			for b.Loop() {
				if code := run(append(args, "--from", folder), io.Discard, os.Stderr); code != 0 {
					b.Fatal(code)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
