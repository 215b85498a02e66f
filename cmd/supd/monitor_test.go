package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMonitorIsFound looks what the thread does that is taken for the monitor:
// none but the monitor sleeps by nanosleep while others work.
func TestMonitorIsFound(t *testing.T) {
	number := map[string]string{"amd64": "35", "arm64": "101"}[runtime.GOARCH]
	calmMonitor()
	id := monitorThread()
	slack, err := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", id))
	if err != nil || strings.TrimSpace(string(slack)) != fmt.Sprint(monitorSlack) {
		t.Skipf("NOT RUN: needs a kernel that lets the slack of a thread's timers be set: %q, %v", slack, err)
	}
	if _, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", id)); err != nil {
		t.Skip("NOT RUN: needs /proc/self/task/*/syscall: ", err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", id))
		if err != nil {
			t.Fatal(err)
		}
		if call, _, _ := strings.Cut(string(b), " "); call == number {
			return
		}
	}
	t.Error("the thread that is taken for the monitor never sleeps like it")
}
