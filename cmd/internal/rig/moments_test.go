package rig_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/journal/event"
	"supd/projector"
)

// momentsConfig has services that crash, that wait for others, and whose
// requirements fail.
const momentsConfig = `
[supd]
node = "rig"
log_format = "text"

[defaults]
backoff = { initial = "20ms", max = "200ms", reset_after = "5s" }
stop = { timeout = "1s" }

[service.crash]
count = 4
command = ["ACTOR", "-dir", "DIR", "-life", "5ms,200ms", "-exits", "0,1,7,255,SIGKILL,SIGHUP"]

[service.given-up]
command = ["ACTOR", "-dir", "DIR", "-life", "1ms,5ms", "-exits", "9"]
max_retries = 2

[service.db]
command = ["ACTOR", "-dir", "DIR"]

[service.api]
command = ["ACTOR", "-dir", "DIR"]
requires = ["db"]

[service.migrate]
type = "oneshot"
command = ["ACTOR", "-dir", "DIR", "-life", "1ms,20ms", "-exits", "0,3"]
autostart = false

[service.web]
command = ["ACTOR", "-dir", "DIR"]
requires = ["migrate", "api"]
autostart = false
`

// smallDisk makes the state folder a file system of its own. Its size is what
// there is in it when it is to be full.
type smallDisk struct {
	t   *testing.T
	dir string
}

func newSmallDisk(t *testing.T, r *rig.Rig) *smallDisk {
	t.Helper()
	d := &smallDisk{t: t, dir: r.State}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, "mode=0700,size=64m"); err != nil {
		t.Skipf("NOT RUN: needs to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *smallDisk) fill() {
	d.t.Helper()
	full := rig.Wait(rig.Patience, func() bool {
		var fs unix.Statfs_t
		if err := unix.Statfs(d.dir, &fs); err != nil {
			d.t.Fatal(err)
		}
		return d.resize((int64(fs.Blocks)-int64(fs.Bfree))*fs.Bsize) == nil // else it has grown meanwhile
	})
	if !full {
		d.t.Fatal("the disk cannot be made full")
	}
}

func (d *smallDisk) free() {
	d.t.Helper()
	if err := d.resize(64 << 20); err != nil {
		d.t.Fatal(err)
	}
}

func (d *smallDisk) resize(size int64) error {
	return unix.Mount("tmpfs", d.dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size))
}

// taken is what supctl dump showed at a moment.
type taken struct {
	text string // as supctl wrote it
	event.Dump
}

// sample takes n dumps at random moments; a moment at which nobody answers is
// none. What is in between happens at its count.
func sample(t *testing.T, r *rig.Rig, n int, between map[int]func()) (all []taken) {
	t.Helper()
	deadline := time.Now().Add(2 * rig.Patience)
	for len(all) < n {
		if do := between[len(all)]; do != nil {
			delete(between, len(all))
			do()
		}
		time.Sleep(rand.N(12 * time.Millisecond)) // the random moment itself
		res := r.Supctl("dump")
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d dumps in %v: %s\n%s", len(all), n, 2*rig.Patience, res.Err, r.Log())
		}
		if res.Code != exitcode.Done {
			continue
		}
		d := taken{text: res.Out}
		res.JSON(&d.Dump)
		all = append(all, d)
	}
	return all
}

// steer sends commands until it is stopped. What becomes of them is other
// tests' matter.
func steer(r *rig.Rig) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		verbs := []string{"start", "stop", "restart"}
		names := []string{"crash-0", "crash-*", "given-up", "db", "api", "web", "migrate"}
		for {
			select {
			case <-done:
				return
			case <-time.After(rand.N(120 * time.Millisecond)):
				r.Call(nil, verbs[rand.N(len(verbs))], names[rand.N(len(names))], "--no-wait", "--timeout", "2s")
			}
		}
	})
	return sync.OnceFunc(func() { close(done); wg.Wait() })
}

// replayAt runs supreplay at; it says what is printed, or why nothing is.
func replayAt(r *rig.Rig, moment string) (string, error) {
	res := r.Supreplay("at", moment, "-o", "json")
	if res.Code != 0 {
		return "", errors.New(res.Err)
	}
	return res.Out, nil
}

// TestReplayOfEveryMoment: whatever supctl dump showed, while services crashed,
// requirements failed, supd was killed in part and as a whole, and its disk was
// full, is what the journal folds to at that record, byte for byte (P6). 300
// moments are held against one pass of the fold, every tenth against supreplay
// at; SUPD_MOMENTS says how many others, which are then all held against both.
func TestReplayOfEveryMoment(t *testing.T) {
	n := int(number(t, "SUPD_MOMENTS", 300))
	every := 10
	if os.Getenv("SUPD_MOMENTS") != "" {
		every = 1
	}
	rig.ReapActors(t)
	r := rig.New(t, momentsConfig)
	disk := newSmallDisk(t, r)
	r.Run()
	stop := steer(r)
	defer stop()
	var undurable int
	all := sample(t, r, n, map[int]func(){
		n / 6:      func() { r.Kill(r.Engine()) },
		2 * n / 6:  func() { r.KillAll(); r.Run() },
		3 * n / 6:  func() { disk.fill(); degraded(t, r) },
		4 * n / 6:  func() { r.Kill(r.Engine()) },
		9 * n / 12: func() { r.KillAll(); r.Run(); undurable = kept(r) },
		10 * n / 12: func() {
			disk.free()
			r.Configure(momentsConfig + "\n[service.more]\ncommand = [\"ACTOR\", \"-dir\", \"DIR\"]\n")
			r.Supctl("apply", "-c", r.Config)
		},
	})
	stop()
	r.Until("all is durable again", func() bool { return kept(r) == 0 })
	r.Shutdown()
	if undurable == 0 {
		t.Error("no record was kept and not durable when all of supd was killed on a full disk")
	}

	h := r.History()
	folded := map[event.Seq]string{}
	for _, d := range all {
		folded[d.Seq] = ""
	}
	s := projector.New()
	for _, e := range h {
		if err := s.Apply(e); err != nil {
			t.Fatal(err)
		}
		if _, wanted := folded[e.Record.Seq]; wanted {
			b, err := event.Marshal(event.Dump{Seq: s.Seq(), Hash: s.Hash(), State: json.RawMessage(s.Canonical())})
			if err != nil {
				t.Fatal(err)
			}
			folded[e.Record.Seq] = string(b) + "\n"
		}
	}
	replayed := 0
	for i, d := range all {
		if folded[d.Seq] != d.text {
			t.Fatalf("the dump taken at record %d is not what the journal folds to:\n%s\n%s", d.Seq, d.text, folded[d.Seq])
		}
		if i%every != 0 {
			continue
		}
		replayed++
		if text, err := replayAt(r, strconv.FormatUint(uint64(d.Seq), 10)); err != nil || text != d.text {
			t.Fatalf("supreplay at %d shows another state than supctl dump did: %v\n%s\n%s", d.Seq, err, d.text, text)
		}
	}
	t.Logf("%d dumps at %d of %d records are what the fold gives, %d of them by supreplay at; %d records were not durable when all of supd was killed",
		len(all), len(folded), len(h), replayed, undurable)
}

// kept is how many records are kept and not durable; -1 while nobody answers.
func kept(r *rig.Rig) int {
	var info event.Info
	res := r.Supctl("info", "-o", "json")
	if json.Unmarshal([]byte(res.Out), &info) != nil {
		return -1
	}
	return info.RunLog.KeptNotDurable
}

func degraded(t *testing.T, r *rig.Rig) {
	t.Helper()
	r.Until("records are kept and not durable", func() bool { return kept(r) > 0 })
}

// TestReplayOfLostMoments: a dump may show what was only kept. If supd then had
// to drop the records, or the machine went down with the run log, no state is
// shown in place of that one: supreplay says that the record is missing, or, of
// a number that was given anew, that the record is another one.
func TestReplayOfLostMoments(t *testing.T) {
	t.Run("dropped", func(t *testing.T) {
		rig.ReapActors(t)
		r := rig.New(t, momentsConfig+"\n[journal]\nrun_log = \"1MiB\"\n")
		disk := newSmallDisk(t, r)
		r.Run()
		all := sample(t, r, 10, nil)
		r.Until("all is durable", func() bool { return kept(r) == 0 })
		disk.fill()
		defer steer(r)()
		c := r.Dial()
		for dropped := false; !dropped; {
			for range 3 { // records that say nothing, but take room
				req := event.CommandRequest{
					ID: uuid.Must(uuid.NewV7()).String(), Verb: event.VerbStart, Patterns: []string{"crash-*"}, SentAt: time.Now().UTC(), NoWait: true,
				}
				if _, err := c.Command(t.Context(), req, nil); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, sample(t, r, 1, nil)...)
			log, err := os.ReadFile(filepath.Join(r.Dir, "supd.log"))
			if err != nil {
				t.Fatal(err)
			}
			dropped = strings.Contains(string(log), "journal.gap: ")
		}
		all = append(all, sample(t, r, 10, nil)...)
		disk.free()
		r.Until("all is durable again", func() bool { return kept(r) == 0 })
		r.Shutdown()
		lost := lostMoments(t, r, all, "supd had to drop records")
		if out := r.Supreplay("verify").OK().Out; !strings.Contains(out, "recorded gap: ") {
			t.Errorf("verify does not tell of the gap:\n%s", out)
		}
		if lost == 0 || lost == len(all) {
			t.Errorf("%d of %d moments are lost; want some, not all", lost, len(all))
		}
		t.Logf("%d of %d dumps show moments that were dropped", lost, len(all))
	})
	t.Run("reboot", func(t *testing.T) {
		rig.ReapActors(t)
		r := rig.New(t, momentsConfig)
		disk := newSmallDisk(t, r)
		r.Run()
		all := sample(t, r, 10, nil)
		r.Until("all is durable", func() bool { return kept(r) == 0 })
		disk.fill()
		stop := steer(r)
		degraded(t, r)
		all = append(all, sample(t, r, 30, nil)...)
		stop()
		r.KillAll()
		for _, p := range r.Left() { // a reboot ends all processes and cgroups, and empties what is in memory
			r.Kill(p.PID)
		}
		r.Until("their cgroups are gone", func() bool { return noCgroups(r) })
		if err := os.Remove(filepath.Join("/dev/shm", "supd-"+r.Node(), "runlog")); err != nil {
			t.Fatal(err)
		}
		disk.free()
		r.Run()
		newest := all[len(all)-1].Seq
		r.Until("the numbers are given anew", func() bool {
			var d event.Dump
			r.Supctl("dump").OK().JSON(&d)
			return d.Seq > newest
		})
		r.Shutdown()
		lost := lostMoments(t, r, all, "is another one, with hash")
		if lost == 0 || lost == len(all) {
			t.Errorf("%d of %d moments are lost; want some, not all", lost, len(all))
		}
		t.Logf("%d of %d dumps show moments that were lost", lost, len(all))
	})
}

// lostMoments counts the dumps of records that are not in the journal any more,
// which supreplay refuses for this reason; all others must be as they were.
func lostMoments(t *testing.T, r *rig.Rig, all []taken, reason string) (lost int) {
	t.Helper()
	for _, d := range all {
		text, err := replayAt(r, fmt.Sprintf("%d:%s", d.Seq, d.Hash))
		switch {
		case err == nil && text != d.text:
			t.Fatalf("supreplay at %d shows another state than supctl dump did:\n%s\n%s", d.Seq, d.text, text)
		case err != nil && !strings.Contains(err.Error(), reason):
			t.Errorf("at %d: %v", d.Seq, err)
		case err != nil:
			lost++
		}
	}
	return lost
}
