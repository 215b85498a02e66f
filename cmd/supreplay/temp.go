package main

import (
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/exitcode"
)

// temporary are the folders that exist now. An interrupt leaves none behind,
// also while they are being filled.
var temporary struct {
	sync.Mutex
	watch sync.Once
	dirs  map[string]bool
}

// makeTemp makes a folder for what may be read by its owner only.
func makeTemp() (string, error) {
	temporary.Lock()
	defer temporary.Unlock()
	dir, err := os.MkdirTemp("", "supreplay-")
	if err != nil {
		return "", err
	}
	if temporary.dirs == nil {
		temporary.dirs = map[string]bool{}
	}
	temporary.dirs[dir] = true
	temporary.watch.Do(removeOnSignal)
	return dir, nil
}

func removeTemp(dir string) {
	_ = os.RemoveAll(dir)
	temporary.Lock()
	defer temporary.Unlock()
	delete(temporary.dirs, dir)
}

func removeOnSignal() {
	got := make(chan os.Signal, 1)
	signal.Notify(got, os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	go func() {
		number := <-got
		temporary.Lock() // and no new one from now on
		for dir := range temporary.dirs {
			_ = os.RemoveAll(dir)
		}
		os.Exit(exitcode.Signal + int(number.(unix.Signal)))
	}()
}
