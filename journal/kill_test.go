package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"supd/journal"
	"supd/journal/event"
	"supd/journal/journaltest"
)

// childEnv makes the test binary an engine that appends until it is killed. It
// holds the state folder and the runtime folder.
const childEnv = "SUPD_JOURNAL_TEST_CHILD"

// child appends groups of all sizes and prints "k N" when N is kept and "d N"
// when it is durable.
func child() {
	state, run, _ := strings.Cut(os.Getenv(childEnv), ":")
	out := make(chan string, 1024)
	cfg := journal.Config{StateDir: state, RuntimeDir: run, Node: "test", RunLogSize: 1 << 20, LockWait: 5 * time.Second}
	cfg.Notify.Durable = func(seq event.Seq) { out <- fmt.Sprintln("d", seq) }
	cfg.Notify.Forked = func(err error) { out <- fmt.Sprintln("error", err) }
	go func() {
		for s := range out {
			_, _ = os.Stdout.WriteString(s)
		}
	}()
	if err := appendForEver(cfg, out); err != nil {
		_, _ = os.Stdout.WriteString("error " + err.Error() + "\n")
		os.Exit(1)
	}
}

func appendForEver(cfg journal.Config, out chan<- string) error {
	j, rec, err := journal.Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	chain := &journaltest.Chain{Link: rec.Base.Link}
	for r, err := range rec.Records {
		if err != nil {
			return err
		}
		chain.Link = journal.LinkOf(r)
	}
	if rec.Source != journal.FromRunLog {
		if err := j.Compact(journal.Base{Link: chain.Link}); err != nil {
			return err
		}
	}
	if err := j.Start(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if err := j.Append(chain.Next([]int{1, 3, 20, 1, 150}[i%5])); err != nil {
			return err
		}
		out <- fmt.Sprintln("k", chain.Link.Seq)
		if j.NeedCompact() {
			if err := j.Compact(journal.Base{Link: chain.Link}); err != nil {
				return err
			}
		}
		if chain.Link.Seq-j.Durable() > 500 {
			if err := j.WaitDurable(context.Background(), chain.Link.Seq-200); err != nil {
				return err
			}
		}
	}
}

// TestKillLosesNothing: an engine is killed in the middle of publishing, again
// and again. What it said to be kept is in the run log, what it said to be
// durable is in JOURNAL alone, and the chain holds (P3, P11).
func TestKillLosesNothing(t *testing.T) {
	cfg := testConfig(t)
	cfg.RunLogSize, cfg.MaxBytes = 1<<20, 0
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		kept, durable := killChild(t, cfg, time.Duration(40+round*37)*time.Millisecond)
		if round%2 == 1 {
			// As after a reboot: JOURNAL alone.
			if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
				t.Fatal(err)
			}
			kept = durable
		}
		e := openEngine(t, cfg)
		if e.rec.End.Seq < kept {
			t.Fatalf("round %d: %d was acknowledged, %s ends at %d", round, kept, e.rec.Source, e.rec.End.Seq)
		}
		e.durable()
		e.close()
		t.Logf("round %d: acknowledged %d, durable %d, found %d from %s", round, kept, durable, e.rec.End.Seq, e.rec.Source)
	}
	_, all, end, err := journal.OpenTestStream(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all(); err != nil {
		t.Errorf("chain of the whole journal: %v", err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// killChild runs the child, kills it a while after its first durable record and
// returns what it had acknowledged.
func killChild(t *testing.T, cfg journal.Config, after time.Duration) (kept, durable event.Seq) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+cfg.StateDir+":"+cfg.RuntimeDir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		grade, number, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Errorf("child says %q", lines.Text())
			break
		}
		switch {
		case grade == "k":
			kept = event.Seq(n)
		case durable == 0:
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			fallthrough
		default:
			durable = event.Seq(n)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed, as it should be
	return kept, durable
}
