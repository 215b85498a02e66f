package output

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// 200 services that write as fast as they can get about the same: none less than a
// third of the average, also where the kernel does not let a pipe grow, nor more
// than four times. It counts bytes, not time.
func TestFloodsShareFairly(t *testing.T) {
	const writers, total = 200, 200 << 20
	b := newBench(t, t.TempDir(), Options{})
	var sum, begun atomic.Int64
	var counts [writers]int64
	var wg sync.WaitGroup
	block := bytes.Repeat([]byte("flood of text without an end in sight\n"), 200)
	start := make(chan struct{})
	for i := range writers {
		w := b.attach(t, fmt.Sprintf("s%d", i), instA, Stdout, DefaultSettings())
		wg.Go(func() {
			defer w.Close()
			<-start
			for first := true; sum.Load() < total; first = false {
				n, err := w.Write(block)
				if err != nil {
					t.Error(err)
					return
				}
				if first {
					begun.Add(1)
				}
				if begun.Load() == writers { // before that the logger has few to share among
					counts[i] += int64(n)
					sum.Add(int64(n))
				}
			}
		})
	}
	close(start)
	wg.Wait()
	b.waitDrained(t, writers)
	slices.Sort(counts[:])
	average := sum.Load() / writers
	t.Logf("least %d, median %d, most %d of %d", counts[0], counts[writers/2], counts[writers-1], average)
	if counts[0] < average/3 || counts[writers-1] > average*4 {
		t.Errorf("not shared: least %d, most %d, average %d", counts[0], counts[writers-1], average)
	}
}
