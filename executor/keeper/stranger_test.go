package keeper

import (
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"
)

// TestStrangersByTag: without cgroups a stranger is known by its environment,
// and only by that of this very supd; a known one and another supd's live on.
func TestStrangersByTag(t *testing.T) {
	node, stranger := uuid.NewString(), uuid.NewString()
	known, foreign := uuid.NewString(), uuid.NewString()
	start := func(instance, node string, more ...string) (c *exec.Cmd, wait func()) {
		t.Helper()
		c = exec.Command("/bin/sh", "-c", "sleep 600 & echo; sleep 600")
		c.Env = append([]string{tag + instance, NodeTag + node, "SUPD_SERVICE=web"}, more...)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		said, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		wait = sync.OnceFunc(func() { _ = c.Wait() })
		t.Cleanup(func() {
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			wait()
		})
		if _, err := said.Read(make([]byte, 1)); err != nil { // now both processes are there
			t.Fatal(err)
		}
		return c, wait
	}
	c, wait := start(stranger, node)
	left := make([]*exec.Cmd, 3)
	left[0], _ = start(known, node)
	left[1], _ = start(foreign, uuid.NewString())
	left[2], _ = start(uuid.NewString(), node, taskMark+"x")
	go wait() // a zombie has no environment, but is not gone
	ended, err := EndStrangers("", node, func(instance string) bool { return instance == known })
	if err != nil {
		t.Fatal(err)
	}
	if len(ended) != 1 || ended[0].Instance != stranger || ended[0].Service != "web" || len(ended[0].Processes) < 2 {
		t.Errorf("ended %+v, want the two processes of %s", ended, stranger)
	}
	if alive(c.Process.Pid) {
		t.Error("the stranger lives")
	}
	for _, c := range left {
		if !alive(c.Process.Pid) {
			t.Errorf("pid %d is none of ours to end", c.Process.Pid)
		}
	}
}
