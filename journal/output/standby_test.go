package output

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A disk that hangs does not stop services with on_full = "drop", neither the one
// whose output is being written nor others, and each line is kept or counted; one
// with "block" waits and loses nothing (P3, P4).
func TestStandby(t *testing.T) {
	hang, hung := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	var refused, size int64
	lost, kinds := map[string]int64{}, map[string]int{}
	l, err := NewLogger(t.TempDir(), Options{
		Tally: filepath.Join(t.TempDir(), "tally"),
		Event: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			kinds[e.Kind]++
			if r, ok := e.Data.(Relieved); ok {
				refused += r.Refused
			}
			if g, ok := e.Data.(Gap); ok {
				size += g.Bytes
				lost[e.Service] += g.Lines
				if g.Reason != hangReason || g.Bytes == 0 {
					t.Errorf("%s: %+v", e.Service, g)
				}
			}
		},
		step: func(what string) {
			if what == "spliced" {
				once.Do(func() { close(hung); <-hang })
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.standby.after = 300 * time.Millisecond
	pipes := map[string]*os.File{}
	for _, service := range []string{"inhand", "other", "patient"} {
		r, w := rawPipe(t)
		pipes[service] = w
		set := Settings{OnFull: OnFullDrop}
		if service == "patient" {
			set.OnFull = OnFullBlock
		}
		if err := l.Attach(service, instA, Stdout, r, set); err != nil {
			t.Fatal(err)
		}
	}
	ran := make(chan error, 1)
	go func() { ran <- l.Run(context.Background()) }()
	fmt.Fprintln(pipes["inhand"], "first")
	<-hung
	const lines = 20_000 // far more than a pipe holds
	done := map[string]chan struct{}{}
	for service, w := range pipes {
		c := make(chan struct{})
		done[service] = c
		go func() {
			defer close(c)
			for i := range lines {
				fmt.Fprintf(w, "line %d of %s\n", i, service)
			}
		}()
	}
	<-done["inhand"]
	<-done["other"]
	select {
	case <-done["patient"]:
		t.Error("block did not block")
	default:
	}
	close(hang)
	<-done["patient"]
	for service, w := range pipes {
		fmt.Fprintf(w, "last of %s\n", service)
		w.Close()
	}
	for {
		var left int
		if err := l.do(func() {}); err != nil {
			t.Fatal(err)
		}
		l.standby.mu.Lock()
		left = len(l.standby.pipes)
		l.standby.mu.Unlock()
		if left == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := l.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for service := range pipes {
		text, err := os.ReadFile(filepath.Join(l.dir, service, "stdout.log"))
		if err != nil {
			t.Fatal(err)
		}
		want := int64(lines + 1)
		if service == "inhand" {
			want++
		}
		kept := int64(bytes.Count(text, []byte("\n")))
		if kept+lost[service] != want || (lost[service] > 0) != (service != "patient") {
			t.Errorf("%s: %d lines kept, %d counted of %d", service, kept, lost[service], want)
		}
		if !bytes.HasSuffix(text, []byte("last of "+service+"\n")) {
			t.Errorf("%s: what came after the hang is not there", service)
		}
	}
	if size == 0 || refused != size {
		t.Errorf("%d bytes are told as refused, %d in gaps", refused, size)
	}
	if kinds[KindPressed] == 0 || kinds[KindRelieved] != kinds[KindPressed] {
		t.Errorf("events: %v", kinds)
	}
}

// A quota is a full disk (EDQUOT): the file stays open, the stream waits and says
// why.
func TestQuota(t *testing.T) {
	var pressed []Pressed
	l, err := NewLogger(t.TempDir(), Options{Event: func(e Event) {
		if p, ok := e.Data.(Pressed); ok {
			pressed = append(pressed, p)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.closeDescriptors()
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EIO} {
		s := newStream(l, "web-"+unix.ErrnoName(errno), Stdout)
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		s.fail(&os.PathError{Op: "write", Path: "stdout.log", Err: errno})
		last := pressed[len(pressed)-1]
		if last.What != "disk" || last.Errno != unix.ErrnoName(errno) || s.trouble == nil {
			t.Errorf("%v: %+v", errno, last)
		}
		if open := s.log != nil; open != (errno != unix.EIO) {
			t.Errorf("%v: its file is open: %v", errno, open)
		}
		s.abandon()
	}
}
