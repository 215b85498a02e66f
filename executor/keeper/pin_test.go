package keeper

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// pinned lists what is pinned in a runtime folder, as somebody sees it who enters
// the namespace, with the identity of each; nil if there is none.
func pinned(t testing.TB, dir string) map[string]uint64 {
	t.Helper()
	done := make(chan map[string]uint64)
	ownThread(func() {
		p := &pins{place: filepath.Join(dir, pinsFolder), held: map[string]bool{}}
		defer close(done)
		if unix.Unshare(unix.CLONE_FS) != nil || p.enter() != nil {
			return
		}
		names, err := os.ReadDir("/")
		if err != nil {
			t.Error(err)
			return
		}
		there := map[string]uint64{}
		for _, n := range names {
			there[n.Name()] = 0
			if fd, err := unix.Open("/"+n.Name(), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				there[n.Name()] = identity(fd)
				unix.Close(fd)
			}
		}
		done <- there
	})
	return <-done
}

// untilPinned waits for instances.
func (s *stage) untilPinned(instances ...string) {
	s.t.Helper()
	waitFor(s.t, "pins", func() bool {
		there := pinned(s.t, s.dir)
		return !slices.ContainsFunc(instances, func(i string) bool { return there[i] == 0 })
	})
}

func needPins(t *testing.T, s *stage) {
	t.Helper()
	if s.table.Info.Features&wire.FeaturePidfdPinned == 0 {
		t.Skip("NOT RUN: needs root, mounts and Linux 6.15: " + s.words())
	}
}

func mounts(t testing.TB, of string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + of + "/mountinfo")
	must(t, err)
	return string(b)
}

// TestPinned: how a service ends while nobody of supd lives is known to the next
// keeper; the pin goes when the engine has it on record, and all goes in the end.
func TestPinned(t *testing.T) {
	s := newStage(t, "none")
	needPins(t, s)
	place := filepath.Join(s.dir, pinsFolder)
	end := func(i int) string { return s.dir + "/end" + string(rune('a'+i)) }
	var ids []string
	var slots []Slot
	for i, how := range []string{"exit 42", "kill -SEGV $$", "exit 0", "exit 1"} {
		id, slot := s.run("while ! [ -e " + end(i) + " ]; do sleep 0.01; done; " + how)
		ids, slots = append(ids, id), append(slots, slot)
	}
	quick, _ := s.run("exit 3")
	await[Exited](s, quick)
	parked := s.park(func(i string) Launch { return shell(i, "exit 5") })
	await[Parked](s, parked)
	s.untilPinned(ids...)
	if there := pinned(t, s.dir); has(there, parked) {
		t.Error("a stub is pinned, whose end would look like the program's")
	}
	// Nobody else sees more than where the namespace is, and a new one not even that.
	for _, of := range []string{"self", strconv.Itoa(slots[0].PID)} {
		if n := strings.Count(mounts(t, of), s.dir); n != 2 {
			t.Errorf("%s sees %d mounts of ours:\n%s", of, n, mounts(t, of))
		}
	}
	copied, err := exec.Command("unshare", "-m", "cat", "/proc/self/mountinfo").Output()
	if err != nil || strings.Contains(string(copied), place+"/") {
		t.Errorf("the file of the namespace is in copies of the mount table: %v\n%s", err, copied)
	}
	s.killKeeper()
	for i := range slots {
		must(t, os.WriteFile(end(i), nil, 0o600))
	}
	for _, slot := range slots[:3] {
		waitFor(t, "the end of a process", func() bool {
			st, err := readStat(slot.PID)
			return err != nil || st.zombie || st.start != slot.StartTime
		})
	}
	s.startKeeper()
	needPins(t, s)
	for i, want := range []func(syscall.WaitStatus) bool{
		func(w syscall.WaitStatus) bool { return w.Exited() && w.ExitStatus() == 42 },
		func(w syscall.WaitStatus) bool { return w.Signaled() && w.Signal() == unix.SIGSEGV },
		func(w syscall.WaitStatus) bool { return w.Exited() && w.ExitStatus() == 0 },
	} {
		m := Adopt{Service: "svc", Instance: ids[i], PID: slots[i].PID, StartTime: slots[i].StartTime}
		for range 2 { // an engine that dies before it has recorded it asks again
			must(t, s.client.Adopt(m))
			a := await[Adopted](s, ids[i]).Slot
			if a.Adoption != wire.AdoptionGone || !a.Exit.Known || !want(a.Exit.Status) {
				t.Errorf("%d: %+v", i, a)
			}
		}
	}
	must(t, s.client.Forget(ids[0]))
	waitFor(t, "the pin of what is on record to go", func() bool { return !has(pinned(t, s.dir), ids[0]) })
	if there := pinned(t, s.dir); !has(there, ids[1]) || !has(there, ids[3]) {
		t.Errorf("pinned: %v", there)
	}
	// What nobody asked for before something was started is nobody's.
	next, _ := s.run("exec sleep 1000")
	s.untilPinned(next)
	waitFor(t, "the pin of nobody's to go", func() bool { return !has(pinned(t, s.dir), ids[3]) })
	if there := pinned(t, s.dir); !has(there, ids[2]) {
		t.Errorf("pinned: %v", there)
	}
	if err := s.upgrade("/proc/self/exe", "up"); err != "" {
		t.Fatal(err)
	}
	s.meetEngine()
	s.meetLogger()
	needPins(t, s)
	if there := pinned(t, s.dir); !has(there, next) {
		t.Errorf("an upgrade lost the pin: %v", there)
	}
	must(t, s.client.Signal(next, "end", unix.SIGKILL, wire.ScopeMain))
	await[Exited](s, next)
	s.quit(false)
	if m := mounts(t, "self"); strings.Contains(m, s.dir) {
		t.Errorf("mounts are left:\n%s", m)
	}
	if _, err := os.Lstat(place); err == nil {
		t.Error("the folder is left")
	}
}

// TestPinsKept: a supd that leaves its services running leaves the pins too.
func TestPinsKept(t *testing.T) {
	s := newStage(t, "none")
	needPins(t, s)
	id, slot := s.run("exec sleep 1000")
	s.untilPinned(id)
	s.quit(true)
	kill(t, slot.PID)
	s.startKeeper()
	must(t, s.client.Adopt(Adopt{Service: "svc", Instance: id, PID: slot.PID, StartTime: slot.StartTime}))
	if a := await[Adopted](s, id).Slot; !a.Exit.Known || a.Exit.Status.Signal() != unix.SIGKILL {
		t.Errorf("%+v", a)
	}
}

// TestPinsMadeAnew: what is in the way is no reason to go without.
func TestPinsMadeAnew(t *testing.T) {
	s := newStage(t, "none")
	needPins(t, s)
	s.killKeeper()
	place := filepath.Join(s.dir, pinsFolder)
	must(t, unix.Unmount(filepath.Join(place, pinsFile), unix.MNT_DETACH)) // a file like any other now
	must(t, unix.Mount("else", place, "tmpfs", 0, ""))
	s.startKeeper()
	needPins(t, s)
	if n := strings.Count(mounts(t, "self"), s.dir); n != 2 {
		t.Errorf("%d mounts:\n%s", n, mounts(t, "self"))
	}
	s.quit(false)
	if m := mounts(t, "self"); strings.Contains(m, s.dir) {
		t.Errorf("mounts are left:\n%s", m)
	}
}

// TestPinsNotPermitted: who may not mount goes without, and leaves nothing.
func TestPinsNotPermitted(t *testing.T) {
	dir := t.TempDir()
	done := make(chan error)
	ownThread(func() { // it ends with the goroutine, and with it what it gave up
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			t.Error(err)
		}
		p := &pins{place: filepath.Join(dir, pinsFolder), root: -1, log: slog.Default(), held: map[string]bool{}}
		done <- p.open()
	})
	if err := <-done; err == nil {
		t.Error("it was permitted")
	} else {
		t.Log(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
	var none *pins
	none.pin("i", 0)
	none.unpin("i")
	none.claim("i")
	none.settled()
	none.close()
	if none.of("i") >= 0 {
		t.Error("nothing is pinned")
	}
}

func TestPinnable(t *testing.T) {
	for name, want := range map[string]bool{
		"01890a5d-ac96-774b-bcce-b302099a8057": true, "": false, ".": false, "..": false, "a/b": false, "/": false, "a\x00": false,
		strings.Repeat("x", 255): true, strings.Repeat("x", 256): false,
	} {
		if pinnable(name) != want {
			t.Errorf("%q", name)
		}
	}
}

// TestPinsDo: what was not come to is undone, and no descriptor is lost.
func TestPinsDo(t *testing.T) {
	p := &pins{held: map[string]bool{}, todo: map[string]int{}, wake: make(chan struct{}, 1)}
	var pipe [2]int
	must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	p.pin("a", pipe[1])
	p.pin("a", pipe[1])
	if len(p.todo) != 1 || !p.held["a"] {
		t.Errorf("%v %v", p.todo, p.held)
	}
	p.unpin("a")
	unix.Close(pipe[1])
	if len(p.todo) != 0 || len(p.held) != 0 {
		t.Errorf("%v %v", p.todo, p.held)
	}
	var b [1]byte
	if n, err := unix.Read(pipe[0], b[:]); n != 0 || err != nil { // the end: nobody holds the other one
		t.Errorf("%d %v", n, err)
	}
	p.held["b"] = false
	p.settled()
	p.held["c"] = false
	p.settled()
	if len(p.todo) != 1 || p.todo["b"] != -1 || len(p.held) != 1 {
		t.Errorf("%v %v", p.todo, p.held)
	}
}

// TestDeathStatus: it is known before a process is reaped, and after.
func TestDeathStatus(t *testing.T) {
	for script, want := range map[string]syscall.WaitStatus{"exit 7": 7 << 8, "exit 0": 0, "kill -TERM $$": syscall.WaitStatus(unix.SIGTERM)} {
		pidfd := -1
		pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "read x; " + script}, &syscall.ProcAttr{
			Files: []uintptr{pipeIn(t)}, Sys: &syscall.SysProcAttr{PidFD: &pidfd},
		})
		must(t, err)
		st, err := readStat(pid)
		must(t, err)
		waitFor(t, "the end", func() bool { return pidfdExited(pidfd) })
		ws, known := deathStatus(pidfd, pid, st.start)
		if !known || ws != want {
			t.Errorf("%q: a zombie's is %x, %v", script, ws, known)
		}
		if _, known := deathStatus(-1, pid, st.start+1); known {
			t.Error("another process of that number is believed")
		}
		_, err = syscall.Wait4(pid, nil, 0, nil)
		must(t, err)
		after, known := pidfdStatus(pidfd)
		if known && after != want {
			t.Errorf("%q: afterwards it is %x", script, after)
		}
		unix.Close(pidfd)
	}
}

// pipeIn is a stdin at whose end is nothing.
func pipeIn(t *testing.T) uintptr {
	t.Helper()
	null, err := os.Open("/dev/null")
	must(t, err)
	t.Cleanup(func() { null.Close() })
	return null.Fd()
}

// quit ends the keeper as an engine does that is done, whose logger is too.
func (s *stage) quit(keep bool) {
	s.t.Helper()
	must(s.t, s.client.Quit(0, keep))
	s.lastLogger.Close() // it ends at once
	s.lastEngine.Close()
	<-s.dead
}

func has(pins map[string]uint64, name string) bool {
	_, there := pins[name]
	return there
}
