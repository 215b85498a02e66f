package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// wait waits for a file of the test.
func (a *actor) wait(name string) {
	for name != "" {
		if _, err := os.Stat(filepath.Join(a.dir, name)); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ready shows that it is, in one of the ways that supd knows.
func (a *actor) ready(how string) {
	how, what, _ := strings.Cut(how, "=")
	switch how {
	case "notify":
		a.must(a.notify("READY=1\nSTATUS=" + what))
	case "fd":
		_, err := os.NewFile(3, "ready").Write([]byte("\n"))
		a.must(err)
	case "log":
		fmt.Println("ready to serve")
	case "exec":
		a.must(os.WriteFile(filepath.Join(a.dir, a.service+".ready"), nil, 0o600))
	case "tcp", "http":
		l, err := net.Listen("tcp", what)
		a.must(err)
		go func() {
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, a.service) }))
		}()
	}
	go a.signs()
}

// notify sends one message to supd.
func (a *actor) notify(message string) error {
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(message))
	return err
}

// signs gives signs of life for as long as the test lets it.
func (a *actor) signs() {
	us, err := strconv.Atoi(os.Getenv("WATCHDOG_USEC"))
	if err != nil {
		return
	}
	for range time.Tick(time.Duration(us) * time.Microsecond / 3) {
		if _, err := os.Stat(filepath.Join(a.dir, a.service+".hang")); err != nil {
			a.must(a.notify("WATCHDOG=1"))
		}
	}
}
