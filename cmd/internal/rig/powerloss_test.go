package rig_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/rig"
	"supd/journal/blocks"
	"supd/journal/event"
	"supd/projector"
)

// loopDisk is a file system in a file.
type loopDisk struct{ image, at string }

// mountDisk mounts an image, made first if size is not 0.
func mountDisk(t *testing.T, image, at string, size int64) loopDisk {
	t.Helper()
	if size > 0 {
		f, err := os.Create(image)
		if err == nil {
			err = errors.Join(f.Truncate(size), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
			t.Skipf("NOT RUN: needs mkfs.ext4: %v %s", err, out)
		}
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: needs root and loop devices: %v %s", err, out)
	}
	d := loopDisk{image, at}
	t.Cleanup(func() { d.unmount() })
	return d
}

func (d loopDisk) unmount() {
	if err := unix.Unmount(d.at, 0); errors.Is(err, unix.EBUSY) {
		_ = unix.Unmount(d.at, unix.MNT_DETACH)
	}
}

// copyImage copies what the disk has at this moment: not what the file system
// on it still holds in memory.
func (d loopDisk) copyImage(to string) error {
	out, err := exec.Command("cp", "--sparse=always", d.image, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot copy the image: %w %s", err, out)
	}
	return nil
}

// promised collects what was answered as durable.
type promised struct {
	mu  sync.Mutex
	ids []string
}

func (p *promised) collect(c *commander, stopped chan struct{}) {
	for {
		select {
		case <-stopped:
			return
		default:
		}
		n := len(c.sent)
		c.one()
		for _, s := range c.sent[n:] {
			if s.failure == "" && s.reply.Status == event.ReplyEnded && s.reply.Durable && s.reply.Outcome != event.Refused {
				p.mu.Lock()
				p.ids = append(p.ids, s.id)
				p.mu.Unlock()
			}
		}
	}
}

func (p *promised) now() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.ids...)
}

// TestPowerLoss cuts the power at random moments under load: supd is stopped
// for an instant, and what the disk has by then, without what the file system
// has not written yet, is copied and looked at. Everything that was answered as
// durable is in it, in one chain that folds, and the journal is sound (P3).
// It does not reorder or tear writes below the file system.
// SUPD_POWERLOSS_ROUNDS is how often, SUPD_CRASH_SEED repeats the choices.
func TestPowerLoss(t *testing.T) {
	rounds := int(number(t, "SUPD_POWERLOSS_ROUNDS", 2))
	seed := number(t, "SUPD_CRASH_SEED", time.Now().UnixNano()%1_000_000_000)
	t.Logf("SUPD_CRASH_SEED=%d SUPD_POWERLOSS_ROUNDS=%d", seed, rounds)
	rig.ReapActors(t)
	r := rig.New(t, crashConfig)
	disk := mountDisk(t, filepath.Join(r.Dir, "disk"), r.State, 512<<20)
	r.Run()
	stopped := make(chan struct{})
	var wg sync.WaitGroup
	var p promised
	for i := range 3 {
		c := &commander{r: r, rand: rand.New(rand.NewPCG(uint64(seed), uint64(i))), client: r.Dial(), outages: new(atomic.Int64)}
		wg.Go(func() { p.collect(c, stopped) })
	}
	dice := rand.New(rand.NewPCG(uint64(seed), 99))
	t.Logf("%5s %9s %9s %9s %9s", "round", "promised", "records", "torn end", "copy")
	for round := range rounds {
		time.Sleep(time.Duration(100+dice.Int64N(1500)) * time.Millisecond) // the random moment itself
		image := filepath.Join(r.Dir, "copy")
		promises, took := cut(t, r, &p, disk, image)
		at := filepath.Join(r.Dir, "mounted")
		copied := mountDisk(t, image, at, 0)
		records, torn := inspect(t, at, promises)
		t.Logf("%5d %9d %9d %9v %9s", round+1, len(promises), records, torn, took.Round(time.Millisecond))
		if out, err := exec.Command(r.Programs.Supd, "check", "--journal", "--state-dir", at).CombinedOutput(); err != nil {
			t.Errorf("round %d: supd check --journal: %v %s", round+1, err, out)
		}
		copied.unmount()
	}
	close(stopped)
	wg.Wait()
	r.Shutdown()
}

// cut stops supd for as long as a copy of the disk takes. What is promised is
// read before, so that nothing in it can be younger than the copy.
func cut(t *testing.T, r *rig.Rig, p *promised, disk loopDisk, image string) ([]string, time.Duration) {
	t.Helper()
	parts := []int{r.Keeper(), r.Engine(), r.Logger()}
	for _, pid := range parts {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	promises, began := p.now(), time.Now()
	err := disk.copyImage(image)
	for _, pid := range parts {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	if err != nil {
		t.Fatal(err)
	}
	return promises, time.Since(began)
}

// inspect reads a state folder after a power loss.
func inspect(t *testing.T, state string, promises []string) (records int, torn bool) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(state, "node.json")); err != nil {
		t.Errorf("the node's identity is gone: %v", err)
	}
	reader, err := blocks.Open(filepath.Join(state, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	ended := map[string]bool{}
	s := projector.New()
	for entry, err := range reader.Records(0) {
		var d *blocks.Damage
		if errors.As(err, &d) && d.What == blocks.Tail {
			torn = true
			continue
		}
		var e event.Encoded
		if err == nil {
			e, err = event.Decode(entry.Data)
		}
		if err == nil {
			err = s.Apply(e)
		}
		if err != nil {
			t.Fatalf("behind record %d: %v", records, err)
		}
		records++
		if d, ok := e.Record.Data.(event.CommandEndedData); ok {
			ended[d.Command] = true
		}
	}
	var lost []string
	for _, id := range promises {
		if !ended[id] {
			lost = append(lost, id)
		}
	}
	if len(lost) > 0 {
		t.Errorf("P3: %d of %d commands that were answered as durable are lost: %s", len(lost), len(promises), strings.Join(lost[:min(5, len(lost))], " "))
	}
	return records, torn
}
