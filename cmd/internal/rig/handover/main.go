// Command handover is a service under test whose main process hands over to
// another one, in the ways that services do, and tells supd so (MAINPID). The
// pid of whoever serves is in the file SERVICE.pid of the folder.
//
//	handover DIR background   a child serves; the main process names it and ends at once, as a daemon does
//	handover DIR upgrade      the same, but the old one lives until SERVICE.go is there, as in a binary upgrade
//	handover DIR late         the child names itself when its parent has long ended
//	handover DIR hostile      names every line of the file SERVICE.names, then serves itself
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
}

func run(dir, how string) error {
	file := func(suffix string) string { return filepath.Join(dir, os.Getenv("SUPD_SERVICE")+suffix) }
	switch how {
	case "serve":
		return serve(file)
	case "serve-late":
		time.Sleep(time.Second)
		if err := say("MAINPID=" + strconv.Itoa(os.Getpid()) + "\nREADY=1"); err != nil {
			return err
		}
		return serve(file)
	case "hostile":
		b, err := os.ReadFile(file(".names"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if err := say("MAINPID=" + strings.TrimSuffix(line, "\n")); err != nil {
				return err
			}
		}
		if err := say("READY=1"); err != nil {
			return err
		}
		return serve(file)
	}
	next := "serve"
	if how == "late" {
		next = "serve-late"
	}
	child := exec.Command("/proc/self/exe", dir, next)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: how == "background"}
	if err := child.Start(); err != nil || how == "late" {
		return err
	}
	// In one message, as programs do: the process is followed before the service is ready.
	if err := say(fmt.Sprintf("READY=1\nMAINPID=%d", child.Process.Pid)); err != nil || how == "background" {
		return err
	}
	for {
		if _, err := os.Stat(file(".go")); err == nil {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// serve gives signs of life until TERM, and notes each USR1 in a file.
func serve(file func(string) string) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1)
	if err := os.WriteFile(file(".new"), fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
		return err
	}
	if err := os.Rename(file(".new"), file(".pid")); err != nil {
		return err
	}
	fmt.Println("serving")
	beat := time.Tick(100 * time.Millisecond)
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGTERM {
				fmt.Println("ending")
				return nil
			}
			if err := os.WriteFile(file(".usr1"), nil, 0o644); err != nil {
				return err
			}
		case <-beat:
			_ = say("WATCHDOG=1") // while supd is dead nobody listens
		}
	}
}

// say sends one message to supd.
func say(message string) error {
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(message))
	return err
}
