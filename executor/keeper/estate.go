package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// EstateFormat is the version of the form in which a keeper leaves what it holds.
// A keeper reads its own and older ones; a newer one it refuses to be started
// with, which is what stops a downgrade in place.
const EstateFormat = 1

// Estate is all that a keeper leaves to the next one: its table and the
// descriptors that go with it. It travels in three ways, all of them in a memfd:
// across execve (an upgrade), to a child (from an orphaned engine), and through a
// socket (to a supd run that takes over). Descriptors are numbers of the process
// that reads it, -1 where there is none.
type Estate struct {
	Format   int `json:"format"`
	Lock     int `json:"lock"`
	Listener int `json:"listener"` // the control socket
	Heirs    int `json:"heirs"`    // the socket of those who take over
	Memory   int `json:"memory"`   // given to every engine
	Notify   int `json:"notify"`   // the notify socket
	// Ending are pidfds of the engine and the logger that were left running. Their
	// locks keep their successors waiting; the heir kills them.
	Ending []int        `json:"ending"`
	Slots  []estateSlot `json:"slots"`

	// What follows is known only if a keeper left it; nil from an engine.
	Keeper *estateKeeper `json:"keeper,omitempty"`
}

// estateKeeper is what only a keeper knows.
type estateKeeper struct {
	Info         wire.Info         `json:"info"`
	Umask        int               `json:"umask"`
	EngineStarts uint64            `json:"engine_starts"`
	LoggerStarts uint64            `json:"logger_starts"`
	HostSignals  []wire.HostSignal `json:"host_signals,omitempty"`
	HostNumber   uint64            `json:"host_number"`
	Events       [][]byte          `json:"events,omitempty"`
	Dropped      uint64            `json:"dropped"`
}

// estateSlot is one slot and its descriptors.
type estateSlot struct {
	Slot   wire.Slot        `json:"slot"`
	Ops    []wire.Operation `json:"ops,omitempty"`
	Merged bool             `json:"merged,omitempty"`
	Data   []byte           `json:"data,omitempty"`
	Limits Limits           `json:"limits"`

	Gate   int `json:"gate"`
	Status int `json:"status"`
	PIDFD  int `json:"pidfd"`
	Stdout int `json:"stdout"`
	Stderr int `json:"stderr"`
	Ready  int `json:"ready"`

	Child     bool `json:"child,omitempty"` // of the process that reads it
	Executing bool `json:"executing,omitempty"`
	Dropping  bool `json:"dropping,omitempty"`
	// Doubt: nobody can say whether the gate was opened before its keeper died. A
	// stub that saw the end of its gate exits with 0, so this code proves nothing.
	Doubt bool `json:"doubt,omitempty"`
	// Mains and First are of a slot that has had another main process (Follow).
	Mains int    `json:"mains,omitempty"`
	First leader `json:"first,omitzero"`
}

// NewEstate returns one that holds nothing.
func NewEstate() *Estate {
	return &Estate{Format: EstateFormat, Lock: -1, Listener: -1, Heirs: -1, Memory: -1, Notify: -1}
}

// descriptors lists the descriptors that are there, always in the same order.
func (e *Estate) descriptors() []*int {
	all := []*int{&e.Lock, &e.Listener, &e.Heirs, &e.Memory, &e.Notify}
	for i := range e.Ending {
		all = append(all, &e.Ending[i])
	}
	for i := range e.Slots {
		s := &e.Slots[i]
		all = append(all, &s.Gate, &s.Status, &s.PIDFD, &s.Stdout, &s.Stderr, &s.Ready)
	}
	there := all[:0]
	for _, fd := range all {
		if *fd >= 0 {
			there = append(there, fd)
		}
	}
	return there
}

// Close closes all descriptors of an estate that nobody takes.
func (e *Estate) Close() { closeAll(e.descriptors()...) }

// copied returns an estate whose descriptors can be renumbered.
func (e *Estate) copied() *Estate {
	c := *e
	c.Ending = append([]int(nil), e.Ending...)
	c.Slots = append([]estateSlot(nil), e.Slots...)
	return &c
}

// BootFD is the descriptor on which a keeper finds its Boot, a memfd. It keeps
// it open: an upgrade leaves its own there.
const BootFD = 3

// Boot is what a keeper is started with. It is handed over in a memfd and not in
// the arguments, which every user of the machine can read.
type Boot struct {
	Args   json.RawMessage `json:"args"` // cmd/supd's own
	Estate *Estate         `json:"estate"`
}

// ReadBoot reads what this keeper was started with.
func ReadBoot() (b Boot, err error) {
	if _, err := unix.FcntlInt(BootFD, unix.F_GET_SEALS, 0); err != nil { // no memfd
		return b, errors.New("cannot read how to run: mode keeper is started by supd run alone")
	}
	text, err := io.ReadAll(io.NewSectionReader(preader(BootFD), 0, maxEstate))
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	switch {
	case err != nil:
		return b, fmt.Errorf("cannot read how to run: %w", err)
	case b.Estate == nil || b.Estate.Format < 1:
		return b, errors.New("cannot read how to run: no estate")
	case b.Estate.Format > EstateFormat:
		return b, fmt.Errorf("cannot take over from a newer supd: its estate has format %d, this one reads %d", b.Estate.Format, EstateFormat)
	}
	return b, nil
}

// preader reads a descriptor without owning it.
type preader int

func (p preader) ReadAt(b []byte, at int64) (int, error) {
	n, err := unix.Pread(int(p), b, at)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

// write puts the boot into a memfd, in place of what is there.
func (b Boot) write(fd int) error {
	text, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("cannot write the estate: %w", err)
	}
	if err := unix.Ftruncate(fd, 0); err != nil {
		return fmt.Errorf("cannot write the estate: %w", err)
	}
	for at := 0; at < len(text); {
		n, err := unix.Pwrite(fd, text[at:], int64(at))
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("cannot write the estate: %w", err)
		}
		at += max(n, 0)
	}
	return nil
}

// Become executes path as a keeper in place of this process, with the estate's
// descriptors. It returns only if that fails, and then the process is of no more
// use: descriptor 3 may be gone. argv is the whole command line.
func (b Boot) Become(path string, argv, env []string) error {
	fd, err := unix.MemfdCreate("supd-keeper", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("cannot create memory file: %w", err)
	}
	for _, p := range b.Estate.descriptors() {
		if *p == BootFD {
			if *p, err = unix.FcntlInt(BootFD, unix.F_DUPFD, BootFD+1); err != nil {
				return fmt.Errorf("cannot move a descriptor: %w", err)
			}
		}
		if _, err := unix.FcntlInt(uintptr(*p), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("cannot keep a descriptor across execve: %w", err)
		}
	}
	if err := b.write(fd); err != nil {
		return err
	}
	if fd == BootFD {
		_, err = unix.FcntlInt(BootFD, unix.F_SETFD, 0)
	} else {
		err = unix.Dup3(fd, BootFD, 0)
	}
	if err == nil {
		err = syscall.Exec(path, argv, env)
	}
	return fmt.Errorf("cannot execute the keeper: %w", err)
}

// Start starts path as a keeper in a child process and a session of its own,
// with copies of the estate's descriptors. The child is not waited for.
func (b Boot) Start(path string, argv, env []string) (pid int, err error) {
	fd, err := unix.MemfdCreate("supd-keeper", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("cannot create memory file: %w", err)
	}
	defer unix.Close(fd)
	files := []uintptr{0, 1, 2, uintptr(fd)}
	given := b.Estate.copied()
	for _, p := range given.descriptors() {
		files = append(files, uintptr(*p))
		*p = len(files) - 1
	}
	if err := (Boot{b.Args, given}).write(fd); err != nil {
		return 0, err
	}
	plainly(func() {
		pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	})
	if err != nil {
		return 0, fmt.Errorf("cannot start a keeper: %w", err)
	}
	return pid, nil
}

// lockfile returns the lock in the estate, or nil.
func (e *Estate) lockfile() *os.File {
	if e.Lock < 0 {
		return nil
	}
	return os.NewFile(uintptr(e.Lock), "lock")
}

// ReadArgs reads the sealed memfd in which engine and logger are given their
// arguments, ArgsFD or LoggerArgsFD, and closes it.
func ReadArgs(fd int) ([]byte, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_WRITE == 0 {
		return nil, errors.New("cannot read the arguments: this mode is started by supd run alone")
	}
	defer unix.Close(fd)
	b, err := io.ReadAll(io.NewSectionReader(preader(fd), 0, maxBlock))
	if err != nil {
		return nil, fmt.Errorf("cannot read the arguments: %w", err)
	}
	return b, nil
}
