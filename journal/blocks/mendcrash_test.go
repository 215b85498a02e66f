package blocks

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// died is what the death of a mender looks like.
type died struct{}

// mendUntil mends until the k-th change to the file system; false if it dies there.
func mendUntil(t *testing.T, dir, stamp string, k int) (lived bool, mended []Mended, holes []Hole) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(died); !ok {
				panic(p)
			}
		}
	}()
	m := Mender{Dir: dir, Evidence: filepath.Join(dir, "damaged"), Stamp: stamp}
	m.step = func() {
		if k--; k == 0 {
			panic(died{})
		}
	}
	mended, holes, err := m.Mend()
	if err != nil {
		t.Fatal(err)
	}
	return true, mended, holes
}

// TestMendCrashAtEveryStep: a mender that dies behind any change that it makes to
// the file system leaves a store that the next one mends with the same result:
// each record that was readable before is, what is lost is named, and each damaged
// file is among the evidence (P3, P4).
func TestMendCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			for k := 1; ; k++ {
				dir, want := writeStore(t, 30, 30, 30)
				harm(t, dir, rand.New(rand.NewPCG(seed, 0)).IntN) // the same harm each time
				harmed := map[string][]byte{}
				for _, f := range blockFiles(t, dir) {
					harmed[filepath.Base(f)], _ = os.ReadFile(f)
				}
				readable, _ := offline(t, dir, 0)
				if !mustCheck(t, dir).Damaged() {
					return // a tail, or nothing that counts
				}
				lived, _, _ := mendUntil(t, dir, "first", k)
				_, mended, holes := mendUntil(t, dir, "second", 0)
				checkAfterCrash(t, dir, k, want, readable, holes)
				checkEvidence(t, dir, k, harmed, mended)
				if lived {
					t.Logf("%d steps", k-1)
					return
				}
			}
		})
	}
}

func checkAfterCrash(t *testing.T, dir string, k int, want, readable []got, holes []Hole) {
	t.Helper()
	var left []Range
	for _, h := range holes {
		left = append(left, h.Left()...)
	}
	if rep := mustCheck(t, dir, left...); rep.Damaged() {
		t.Fatalf("crash behind step %d: mended again, and damaged: %v", k, rep.Damage)
	}
	after, _ := offline(t, dir, 0)
	if len(after) != len(readable) {
		t.Fatalf("crash behind step %d: %d records were readable, %d are", k, len(readable), len(after))
	}
	for i, g := range after {
		if g.Seq != readable[i].Seq || g.Data != want[g.Seq-1].Data {
			t.Fatalf("crash behind step %d: record %d is not what it was", k, g.Seq)
		}
	}
	for _, w := range want {
		is := func(g got) bool { return g.Seq == w.Seq }
		named := func(l Range) bool { return l.First <= w.Seq && w.Seq <= l.Last }
		if !slices.ContainsFunc(after, is) && !slices.ContainsFunc(left, named) {
			t.Fatalf("crash behind step %d: record %d is gone and not named in %v", k, w.Seq, left)
		}
	}
}

// checkEvidence wants each file that is not what it was among the evidence.
func checkEvidence(t *testing.T, dir string, k int, harmed map[string][]byte, mended []Mended) {
	t.Helper()
	for base, was := range harmed {
		now, err := os.ReadFile(filepath.Join(StreamDir(dir), "msgs", base))
		if err != nil {
			t.Fatalf("crash behind step %d: %v", k, err)
		}
		if string(now) == string(was) {
			continue
		}
		kept := false
		for _, stamp := range []string{"first", "second"} {
			b, err := os.ReadFile(filepath.Join(dir, "damaged", stamp+"-"+base))
			kept = kept || err == nil && string(b) == string(was)
		}
		if !kept {
			t.Fatalf("crash behind step %d: %s was changed, and there is no evidence of what it was (%v)", k, base, mended)
		}
	}
}
