// Command actor is a service under test: it does what its flags say and keeps
// its own account of it, see package account.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/rig/account"
)

// Ways to take SIGTERM.
const (
	termHandle = "handle" // end with code 0
	termIgnore = "ignore"
	termNone   = "none" // as the kernel does it: killed by it
)

type actor struct {
	dir      string
	service  string
	instance string
	counter  *account.Counter
	writers  [2]sync.Mutex // held while a line is on its way
	once     sync.Mutex    // held by whoever ends the process
}

func main() {
	dir := flag.String("dir", "", "folder of the test")
	child := flag.Int("child", 0, "be the child of this number")
	forks := flag.Int("forks", 0, "children to fork")
	outRate := flag.Int("stdout", 0, "lines a second to stdout")
	errRate := flag.Int("stderr", 0, "lines a second to stderr")
	life := flag.String("life", "", "end after MIN,MAX")
	exits := flag.String("exits", "0", "exit codes and signals to choose the end from")
	term := flag.String("term", termHandle, "handle, ignore or none")
	when := flag.String("when", "", "go on when this file is in the folder")
	ready := flag.String("ready", "", "notify=STATUS, fd, log, exec, tcp=ADDRESS or http=ADDRESS")
	flag.Parse()
	a := &actor{dir: *dir, service: os.Getenv("SUPD_SERVICE"), instance: os.Getenv("SUPD_INSTANCE")}
	if *child > 0 {
		a.child(*child)
	}
	signals := make(chan os.Signal, 16)
	listen := []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2}
	switch *term {
	case termHandle:
		listen = append(listen, syscall.SIGTERM)
	case termIgnore:
		signal.Ignore(syscall.SIGTERM)
	}
	signal.Notify(signals, listen...)
	a.lock(a.service)
	a.must(account.Write(a.dir, a.entry(account.Start)))
	var err error
	a.counter, err = account.NewCounter(a.dir, a.instance)
	a.must(err)
	for n := range *forks {
		a.fork(n + 1)
	}
	a.speak(0, *outRate)
	a.speak(1, *errRate)
	go a.live(*when, *ready, *life, *exits)
	for s := range signals {
		if s == syscall.SIGTERM {
			go a.end("0")
			continue
		}
		e := a.entry(account.Got)
		e.Signal = unix.SignalName(s.(syscall.Signal))
		a.must(account.Write(a.dir, e))
	}
}

// live is its life from the time on that the test lets it.
func (a *actor) live(when, ready, life, exits string) {
	a.wait(when)
	a.ready(ready)
	if life != "" {
		time.AfterFunc(between(life), func() { a.end(pick(exits)) })
	}
}

func (a *actor) entry(what string) account.Entry {
	return account.Entry{What: what, Service: a.service, Instance: a.instance, PID: os.Getpid()}
}

func (a *actor) must(err error) {
	if err != nil {
		_ = account.Violated(a.dir, "%s %s pid %d: actor: %v", a.service, a.instance, os.Getpid(), err)
		os.Exit(98)
	}
}

func (a *actor) lock(name string) {
	ok, err := account.Lock(a.dir, name)
	a.must(err)
	if !ok {
		a.must(account.Violated(a.dir, "P1: another process of %s lives beside instance %s, pid %d", name, a.instance, os.Getpid()))
		os.Exit(97)
	}
}

// child is a member of the tree that never ends by itself; odd ones do not
// even mind SIGTERM.
func (a *actor) child(n int) {
	if n%2 == 1 {
		signal.Ignore(syscall.SIGTERM)
	}
	a.lock(a.service + "." + strconv.Itoa(n))
	select {}
}

func (a *actor) fork(n int) {
	c := exec.Command("/proc/self/exe", "-dir", a.dir, "-child", strconv.Itoa(n))
	a.must(c.Start())
}

// speak writes numbered lines to stdout (0) or stderr (1).
func (a *actor) speak(stream, rate int) {
	if rate == 0 {
		return
	}
	const tick = 10 * time.Millisecond
	every, batch := tick, rate/100
	if batch == 0 {
		every, batch = time.Second/time.Duration(rate), 1
	}
	file := [2]*os.File{os.Stdout, os.Stderr}[stream]
	go func() {
		n := uint64(0)
		for range time.Tick(every) {
			for range batch {
				a.writers[stream].Lock()
				n++
				_, err := fmt.Fprintf(file, "%s %d %s\n", a.instance, n, strings.Repeat("x", int(n%50)))
				a.must(err)
				a.counter.Set(stream, n)
				a.writers[stream].Unlock()
			}
		}
	}()
}

// end writes down how it ends, then does. Whatever else may happen after that
// can only be SIGKILL.
func (a *actor) end(how string) {
	a.once.Lock() // for ever
	signal.Ignore(syscall.SIGTERM)
	a.writers[0].Lock()
	a.writers[1].Lock()
	e := a.entry(account.End)
	e.Lines = a.counter.Get()
	code, err := strconv.Atoi(how)
	if err == nil {
		e.Code = code
		a.must(account.Write(a.dir, e))
		os.Exit(code)
	}
	e.Signal = how
	a.must(account.Write(a.dir, e))
	s := unix.SignalNum(how)
	signal.Reset(s)
	a.must(unix.Kill(os.Getpid(), s))
	select {}
}

func between(span string) time.Duration {
	low, high, _ := strings.Cut(span, ",")
	from, err := time.ParseDuration(low)
	if err != nil {
		panic(err)
	}
	to, err := time.ParseDuration(high)
	if err != nil {
		panic(err)
	}
	return from + rand.N(to-from+1)
}

func pick(list string) string {
	choice := strings.Split(list, ",")
	return choice[rand.IntN(len(choice))]
}
