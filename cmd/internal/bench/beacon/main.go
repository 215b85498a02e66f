// Command beacon is the service that the benchmark lets supd run: it says when
// its main began, by the kernel's clock, and then sleeps. What it reports is
// later than exec by the start of its own runtime, so the figures made from it
// are never too good.
package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Args[1] == "-tick" {
		for range time.Tick(100 * time.Millisecond) { // to be compared with idle CPU
		}
	}
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // cannot fail with a valid clock and pointer
	f, err := os.OpenFile(os.Args[1], os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(f, "%s %d %d\n", os.Getenv("SUPD_SERVICE"), os.Getpid(), now.Nano())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot report:", err)
		os.Exit(1)
	}
	f.Close()
	for {
		_ = unix.Pause()
	}
}
