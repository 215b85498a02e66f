package keeper

import (
	"fmt"
	"log/slog"
	"path/filepath"
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
	// moved are those pinned a second time: there is something to unpin even while
	// that pin is still to be made.
	moved map[string]bool // guarded by mu
	wake  chan struct{}   // holds one word: something is to be done
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
		held: map[string]bool{}, todo: map[string]int{}, moved: map[string]bool{}, wake: make(chan struct{}, 1),
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

// repin has another process pinned for an instance.
func (p *pins) repin(name string, pidfd int) {
	if p == nil {
		return
	}
	if _, there := p.held[name]; !there {
		p.pin(name, pidfd)
		return
	}
	fd, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		p.unpin(name) // better none than that of another process
		return
	}
	p.mu.Lock()
	p.moved[name] = true
	p.mu.Unlock()
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
		if fd < 0 && !p.moved[name] {
			delete(p.todo, name)
		}
	}
	if fd < 0 {
		delete(p.moved, name)
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
	there, same := isPidfd(fd), identity(fd) == identity(pidfd)
	unix.Close(fd)
	if there && same {
		return nil
	}
	if there { // it has another main process (Follow)
		p.unmount(name)
		return p.mount(name, pidfd)
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
