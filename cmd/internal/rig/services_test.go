package rig_test

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// need skips loudly, and fails where everything must be there.
func need(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("needs %s: run scripts/ci-packages", what)
	}
	t.Skipf("NOT RUN: needs %s: run scripts/ci-packages", what)
}

func credential(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		need(t, "user "+name)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestRealServices: programs that people run, each as its own user, stop by
// their own signals and come back when they are killed.
func TestRealServices(t *testing.T) {
	t.Parallel()
	for _, d := range daemons() {
		t.Run(d.name, func(t *testing.T) { d.test(t) })
	}
}

func (d daemon) test(t *testing.T) {
	if d.program == "" {
		need(t, d.name)
	}
	if os.Geteuid() != 0 {
		need(t, "root")
	}
	as := credential(t, d.user)
	r := rig.New(t, "")
	port, folder := freePort(t), filepath.Join(r.Dir, d.name)
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(folder, int(as.Uid), int(as.Gid)); err != nil {
		t.Fatal(err)
	}
	if d.prepare != nil {
		d.prepare(t, folder, as)
	}
	fill := strings.NewReplacer("PROGRAM", d.program, "BESIDE", filepath.Dir(d.program), "FOLDER", folder,
		"HEXPORT", fmt.Sprintf("%04X", port), "PORT", strconv.Itoa(port))
	for name, text := range d.files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(fill.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	settings := fill.Replace(d.config)
	r.Configure("[service." + d.name + "]\n" + settings + "\nuser = \"" + d.user + "\"\ndirectory = \"" + folder + "\"\n")
	r.Run()
	servesWithin := func(limit time.Duration) {
		t.Helper()
		var err error
		if !rig.Wait(limit, func() bool { err = d.serves(port, folder); return err == nil }) {
			t.Fatalf("%s does not serve: %v\n%s%s", d.name, err, r.Output(d.name, "stdout"), r.Output(d.name, "stderr"))
		}
	}
	serves := func() { t.Helper(); servesWithin(0) } // it is ready, so it is asked once
	r.Supctl("start", d.name).OK()
	serves()
	first := r.UntilPhase(d.name, event.PhaseRunning)
	if st, err := os.Stat(fmt.Sprintf("/proc/%d", *first.PID)); err != nil || st.Sys().(*syscall.Stat_t).Uid != as.Uid {
		t.Errorf("%s does not run as %s (%v)", d.name, d.user, err)
	}
	if err := syscall.Kill(*first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.Until("another instance runs", func() bool {
		s := r.Status(d.name)
		return s.State == event.PhaseRunning && *s.Instance != *first.Instance
	})
	serves()
	second := r.Status(d.name)
	if second.Restarts != 1 {
		t.Errorf("after one SIGKILL it was restarted %d times: the port was still taken", second.Restarts)
	}
	if strings.Contains(d.config, "reload") {
		r.Supctl("reload", d.name).OK()
		servesWithin(rig.Patience) // nobody says when a reload is over
		if s := r.Status(d.name); *s.Instance != *second.Instance || *s.PID != *second.PID {
			t.Errorf("the reload made another instance: %+v", s)
		}
	}
	r.Kill(r.Engine())
	r.Supctl("stop", d.name).OK()
	if err := d.serves(port, folder); err == nil {
		t.Error("it is stopped and still serves")
	}
	s := r.Status(d.name)
	if s.State != event.PhaseStopped || s.LastExit == nil || !d.mayEnd(s.LastExit.Code, s.LastExit.Signal) {
		t.Errorf("stopped, it is %s, its exit was %+v, want %s\n%s", s.State, s.LastExit, d.ends, r.Output(d.name, "stderr"))
	}
	r.Supctl("start", d.name).OK()
	serves()
	r.Shutdown()
	d.check(t, r.History(), *first.Instance)
}

// check looks at what the journal tells of the killed instance and of the
// orderly ends.
func (d daemon) check(t *testing.T, h rig.History, killed string) {
	swept := false
	for _, s := range rig.Of[event.InstanceSweptData](h) {
		if s.Instance == killed {
			swept = true
			if s.Survived != 0 {
				t.Errorf("%d processes survived", s.Survived)
			}
		}
	}
	if d.workers && !swept {
		t.Errorf("the workers of the killed %s were not ended", d.name)
	}
	for _, x := range rig.Of[event.InstanceExitedData](h) {
		switch {
		case x.Instance == killed:
			if x.Signal == nil || *x.Signal != event.Kill || x.Expected {
				t.Errorf("the killed instance: %+v", x)
			}
		case !d.mayEnd(x.Code, x.Signal) || !x.Expected:
			t.Errorf("an instance that was asked to stop: %+v", x)
		}
	}
}

// mayEnd tells whether this is one of the ways in which it ends when asked to.
func (d daemon) mayEnd(code *int, signal *string) bool {
	how := "unknown"
	switch {
	case code != nil:
		how = strconv.Itoa(*code)
	case signal != nil:
		how = *signal
	}
	return slices.Contains(strings.Fields(d.ends), how)
}
