package keeper

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"supd/executor/keeper/stub"
)

// BenchmarkStart measures one instance from Park to Forget, and reports how long
// it takes until its program is seen to be exec'd.
func BenchmarkStart(b *testing.B) {
	s := newStage(b, "")
	var execed time.Duration
	for b.Loop() {
		began := time.Now()
		i := s.park(func(i string) Launch { return program(i, "/bin/true") })
		await[Parked](s, i)
		must(b, s.client.Open(i))
		await[Execed](s, i)
		execed += time.Since(began)
		await[Exited](s, i)
		must(b, s.client.Forget(i))
	}
	b.ReportMetric(float64(execed.Microseconds())/float64(b.N), "us/execed")
}

// BenchmarkThousand measures a thousand instances from the first Park until all
// have exec'd. The program is a static one that ends at once (the stub, which
// finds no launch block), lest the dynamic linker's work be measured.
func BenchmarkThousand(b *testing.B) {
	s := newStage(b, "")
	path := filepath.Join(s.dir, "program")
	must(b, os.WriteFile(path, []byte(stub.Binary), 0o755))
	for b.Loop() {
		const n = 1000
		for range n {
			s.park(func(i string) Launch { return program(i, path) })
		}
		for execed, exited := 0, 0; exited < n; {
			switch e := s.next().(type) {
			case Parked:
				must(b, s.client.Open(e.Slot.Instance))
			case Execed:
				if execed++; execed == n {
					b.StopTimer()
				}
			case Exited:
				must(b, s.client.Forget(e.Slot.Instance))
				exited++
			}
		}
		b.StartTimer()
	}
}

// BenchmarkPark measures one instance from Park to Dropped: no program is executed.
func BenchmarkPark(b *testing.B) {
	s := newStage(b, "")
	for b.Loop() {
		i := s.park(func(i string) Launch { return program(i, "/bin/true") })
		await[Parked](s, i)
		must(b, s.client.Drop(i))
		await[Dropped](s, i)
	}
}
