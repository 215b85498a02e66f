package main

import (
	"os"
	"strconv"
)

// monitorSlack is how much later than it asked the runtime's monitor may be woken,
// in nanoseconds. It asks for 20 µs at first, again and again for 10 ms after each
// wake-up of the process, and finds nothing to do: with the kernel's own 50 µs it
// takes a seventh of all that keeper and engine use in a storm. What it is there
// for (a processor whose thread is in a long system call, a goroutine that does not
// yield for 10 ms) can wait so long.
const monitorSlack = 500_000

// calmMonitor gives the runtime's monitor that slack, where the kernel permits it.
// A thread that the monitor makes has it too, so timers there may be as late: few
// are, since threads are made ahead (keeper.Prewarm).
func calmMonitor() {
	f, err := os.OpenFile("/proc/"+strconv.Itoa(monitorThread())+"/timerslack_ns", os.O_WRONLY, 0)
	if err != nil {
		return // it only costs more
	}
	defer f.Close()
	_, _ = f.WriteString(strconv.Itoa(monitorSlack))
}

// monitorThread is the first thread that the runtime has made: the one whose
// number follows the process's. It is 0 if there is none.
func monitorThread() int {
	const numbers = 1 << 22 // the most that the kernel gives out before it begins anew
	tasks, _ := os.ReadDir("/proc/self/task")
	me, found, nearest := os.Getpid(), 0, numbers
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil || id == me {
			continue
		}
		if after := (id - me + numbers) % numbers; after < nearest {
			found, nearest = id, after
		}
	}
	return found
}
