package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// ownThread runs f in a goroutine whose thread is its own for ever, and is not
// the process's first: that one is what /proc shows of the whole process.
func ownThread(f func()) {
	locked := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			ownThread(f)
			close(locked)
			runtime.UnlockOSThread()
			return
		}
		close(locked)
		f()
	}()
	<-locked
}

// open enters the namespace, on the thread.
func (p *pins) open() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // a root and a working directory of its own
		return fmt.Errorf("cannot part a thread: %w", err)
	}
	err := p.enter()
	if err != nil {
		p.clear()
		err = p.create()
	}
	if err != nil {
		return err
	}
	if p.root, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("cannot open the root of a mount namespace: %w", err)
	}
	if err := p.list(); err != nil {
		return err
	}
	return p.try()
}

// enter goes on with the namespace of an earlier keeper.
func (p *pins) enter() error {
	st, err := os.Lstat(p.place)
	if err != nil || !st.IsDir() {
		return fs.ErrNotExist
	}
	fd, err := unix.Open(filepath.Join(p.place, pinsFile), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNS {
		return fs.ErrInvalid
	}
	return unix.Setns(fd, unix.CLONE_NEWNS)
}

// clear unmounts what is of no use; it is called outside of the namespace.
func (p *pins) clear() {
	for range 8 { // one upon the other
		if unix.Unmount(p.place, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) != nil {
			break
		}
	}
	_ = os.Remove(p.place)
}

// create makes the tmpfs, and the namespace that it keeps alive.
func (p *pins) create() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot make a mount namespace: %w", err)
		}
	}()
	all, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(all)
	if err = os.Mkdir(p.place, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err = unix.Mount("supd", p.place, "tmpfs", pinMount, "mode=0700,size=4k,nr_inodes=8"); err != nil {
		_ = os.Remove(p.place)
		return err
	}
	defer func() {
		if err != nil {
			_ = unix.Setns(all, unix.CLONE_NEWNS)
			p.clear()
		}
	}()
	// Its copies in other namespaces must not get what is mounted in it.
	if err = unix.Mount("", p.place, "", unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	file := filepath.Join(p.place, pinsFile)
	if err = os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	if err = p.part(); err != nil {
		return err
	}
	own, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	if err = p.strip(); err != nil {
		return err
	}
	if err = unix.Setns(all, unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err = unix.Mount(fmt.Sprintf("/proc/thread-self/fd/%d", own), file, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Setns(own, unix.CLONE_NEWNS)
}

// part enters a copy of the mount namespace.
func (p *pins) part() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

// strip leaves nothing in the copy but an empty tmpfs: a mount that it held would
// hold a disk that somebody unmounts elsewhere.
func (p *pins) strip() error {
	options := fmt.Sprintf("mode=0700,size=64k,nr_inodes=%d", 2*maxSlots)
	if err := unix.Mount("supd", p.place, "tmpfs", pinMount, options); err != nil {
		return err
	}
	if err := unix.Chdir(p.place); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil { // the old root lies upon the new one
		return err
	}
	return unix.Chdir("/")
}

// list finds what an earlier keeper has pinned.
func (p *pins) list() error {
	d, err := os.Open("/") // as this thread sees it
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if fd := p.of(name); fd >= 0 {
			unix.Close(fd)
			p.held[name] = false
			continue
		}
		_ = unix.Unlinkat(p.root, name, 0) // its keeper died before it was mounted
	}
	return nil
}

// try finds out whether the kernel permits what is to be done.
func (p *pins) try() error {
	const name = "trial"
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return fmt.Errorf("cannot open a pidfd: %w", err)
	}
	defer unix.Close(self)
	if err = p.mount(name, self); err != nil {
		return err
	}
	defer p.unmount(name)
	fd := p.of(name)
	if fd < 0 {
		return errors.New("a mounted pidfd cannot be opened")
	}
	return unix.Close(fd)
}
