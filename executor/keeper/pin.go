package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// pins hold the pidfds of running services by mounts instead of descriptors, so
// that the kernel keeps the exit status of one that ends while keeper, engine and
// logger are all dead: the next keeper opens its pidfd by name (P3, P8).
//
// The mounts are in a mount namespace of their own, in which there is nothing
// else, and only one thread of ours. Where everybody looks there is one small
// tmpfs in the runtime folder, private, which holds the file that keeps the
// namespace alive: a thousand services are no thousand lines in the mount table,
// a service manager that follows it is not woken for each, and namespaces that
// are made later hold copies of none. The kernel itself leaves the file out of
// those copies.
//
// Methods belong to the loop; those of the thread say so. All may be called on
// nil, which pins nothing.
type pins struct {
	place string // the tmpfs's mount point
	root  int    // root of the namespace, for names; everybody may use it
	log   *slog.Logger
	// held are the instances pinned, or about to be. Until it is claimed, one of an
	// earlier keeper may be nobody's.
	held map[string]bool
	sure bool // whom nobody claimed is let go

	mu   sync.Mutex
	todo map[string]int // guarded by mu: the pidfd to pin, -1 to unpin
	wake chan struct{}  // holds one word: something is to be done
}

const (
	pinsFolder = "pidfds" // in the runtime folder
	pinsFile   = "ns"     // in the tmpfs
	// pinDelay is how old an instance gets before it is pinned. What ends sooner,
	// as in a storm of crashes, costs nothing; what begins together is pinned
	// together.
	pinDelay = 5 * time.Millisecond
	// pinMount are the flags of both tmpfs.
	pinMount = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
)

// startPins begins to find the pins of an earlier keeper, or to make a place for
// those of this one. What is returned may be used when the channel has given its
// error, if that is nil.
func startPins(runtimeDir string, log *slog.Logger) (*pins, <-chan error) {
	p := &pins{
		place: filepath.Join(runtimeDir, pinsFolder), root: -1, log: log,
		held: map[string]bool{}, todo: map[string]int{}, wake: make(chan struct{}, 1),
	}
	ready := make(chan error, 1)
	ownThread(func() {
		err := p.open()
		ready <- err
		if err == nil {
			p.live()
		}
	})
	return p, ready
}

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

// of opens the pidfd of an instance, -1 if it is not pinned.
func (p *pins) of(name string) int {
	if p == nil || !pinnable(name) {
		return -1
	}
	fd, err := unix.Openat(p.root, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if !isPidfd(fd) {
		unix.Close(fd)
		return -1
	}
	return fd
}

func isPidfd(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == unix.PID_FS_MAGIC
}

// pinnable tells that an instance's name is one in the root of the namespace.
func pinnable(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\x00")
}

// pin has an instance's pidfd pinned soon; it stays the caller's.
func (p *pins) pin(name string, pidfd int) {
	if p == nil || pidfd < 0 || !pinnable(name) {
		return
	}
	if _, there := p.held[name]; there || len(p.held) >= maxSlots {
		p.claim(name)
		return
	}
	fd, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return // out of descriptors: others need the next one more
	}
	p.held[name] = true
	p.do(name, fd)
}

// claim says that an instance pinned by an earlier keeper is known.
func (p *pins) claim(name string) {
	if p == nil {
		return
	}
	if _, there := p.held[name]; there {
		p.held[name] = true
	}
}

// unpin lets an instance go whose end is on record.
func (p *pins) unpin(name string) {
	if p == nil {
		return
	}
	if _, there := p.held[name]; there {
		delete(p.held, name)
		p.do(name, -1)
	}
}

// settled lets go whom nobody claimed: engines ask for all that they know of
// before they have anything started.
func (p *pins) settled() {
	if p == nil || p.sure {
		return
	}
	p.sure = true
	for name, claimed := range p.held {
		if !claimed {
			p.unpin(name)
		}
	}
}

// close lets all go, and removes every trace. It is called when nothing lives.
func (p *pins) close() {
	if p != nil {
		p.clear()
	}
}

// do tells the thread. What it did not come to yet is undone.
func (p *pins) do(name string, fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pending, there := p.todo[name]
	p.todo[name] = fd
	if there && pending >= 0 {
		unix.Close(pending)
		delete(p.todo, name)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// live is the thread's life.
func (p *pins) live() {
	failed := false
	for range p.wake {
		time.Sleep(pinDelay)
		p.mu.Lock()
		todo := p.todo
		p.todo = map[string]int{}
		p.mu.Unlock()
		for name, fd := range todo {
			if fd < 0 {
				p.unmount(name)
				continue
			}
			if err := p.mount(name, fd); err != nil && !failed {
				failed = true
				p.log.Warn("how services end is not known if all of supd is killed before; this is said once", "instance", name, "error", err)
			}
			unix.Close(fd)
		}
	}
}

// mount pins, on the thread.
func (p *pins) mount(name string, pidfd int) error {
	fd, err := unix.Openat(p.root, name, unix.O_RDONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot pin a pidfd: %w", err)
	}
	there := isPidfd(fd)
	unix.Close(fd)
	if there {
		return nil
	}
	tree, err := unix.OpenTree(pidfd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err == nil {
		err = unix.MoveMount(tree, "", p.root, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
		unix.Close(tree)
	}
	if err != nil {
		_ = unix.Unlinkat(p.root, name, 0)
		return fmt.Errorf("cannot pin a pidfd: %w", err)
	}
	return nil
}

// unmount unpins, on the thread.
func (p *pins) unmount(name string) {
	_ = unix.Unmount("/"+name, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	_ = unix.Unlinkat(p.root, name, 0)
}

// pinsStarted takes what startPins has come to.
func (k *keeper) pinsStarted(p *pins, err error) {
	k.info.Features &^= wire.FeaturePidfdPinned
	switch {
	case err != nil:
		k.log.Info("if all of supd is killed, nobody will know how services end meanwhile", "why", err)
	case k.info.Features&wire.FeaturePidfdExit == 0:
		p.close() // they would tell nothing
	default:
		k.pins = p
		k.info.Features |= wire.FeaturePidfdPinned
	}
}

// pinSlot pins a running instance. A stub is none: it ends with 0 at the end of
// its gate, which must not be taken for the program's end.
func (k *keeper) pinSlot(s *slot) {
	if s.Task == wire.TaskNone && s.Execed && s.live() {
		k.pins.pin(s.Instance, s.pidfd)
	}
}

// pinsEnd gives the pins back, unless somebody lives on without us.
func (k *keeper) pinsEnd() {
	for _, s := range k.slots {
		if s.live() && s.Task == wire.TaskNone {
			return
		}
	}
	k.pins.close()
	k.pins = nil
}
