package main

import (
	"os"
	"path/filepath"
	"sync"
	"time"
)

// sizeWait bounds how long an answer waits for the size of a folder.
const sizeWait = 200 * time.Millisecond

// folderSize adds up files on a goroutine of its own, one at a time: a disk
// that hangs costs one goroutine, never the workers that answer status (P5,
// R2). The size is then the last one known.
type folderSize struct {
	mu   sync.Mutex
	done chan struct{} // of the walk under way; nil if there is none
	last int64         // bytes
}

// of returns the size of dir in bytes, or the last one known.
func (f *folderSize) of(dir string) int64 {
	f.mu.Lock()
	done := f.done
	if done == nil {
		done = make(chan struct{})
		f.done = done
		go f.walk(dir, done)
	}
	f.mu.Unlock()
	select {
	case <-done:
	case <-time.After(sizeWait):
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *folderSize) walk(dir string, done chan struct{}) {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a file that is gone meanwhile has no size
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	f.mu.Lock()
	f.last, f.done = sum, nil
	f.mu.Unlock()
	close(done)
}
