package keeper

import (
	"bytes"
	"errors"
	"math"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stat is what the keeper reads from /proc/PID/stat.
type stat struct {
	pid, ppid, group, session int
	zombie                    bool
	start                     uint64 // clock ticks since boot
	exit                      int    // wait status of a zombie, where it may be seen
	comm                      string
}

var errStat = errors.New("cannot parse stat")

// parseStat reads the content of /proc/PID/stat. The name may hold anything, so
// fields are counted from its last parenthesis.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return stat{}, errStat
	}
	f := bytes.Fields(b[end+1:])
	if len(f) < 20 {
		return stat{}, errStat
	}
	s := stat{comm: string(b[open+1 : end]), zombie: string(f[0]) == "Z"}
	var err [6]error
	s.pid, err[0] = strconv.Atoi(string(bytes.TrimSpace(b[:open])))
	s.ppid, err[1] = strconv.Atoi(string(f[1]))
	s.group, err[2] = strconv.Atoi(string(f[2]))
	s.session, err[3] = strconv.Atoi(string(f[3]))
	s.start, err[4] = strconv.ParseUint(string(f[19]), 10, 64)
	if len(f) > 49 {
		s.exit, err[5] = strconv.Atoi(string(f[49]))
	}
	if errors.Join(err[:]...) != nil {
		return stat{}, errStat
	}
	return s, nil
}

func readStat(pid int) (stat, error) {
	var b [maxStat]byte
	n, err := readKernel("/proc/"+strconv.Itoa(pid)+"/stat", b[:])
	if err != nil {
		return stat{}, err
	}
	return parseStat(b[:n])
}

// maxStat is more than a line of /proc/PID/stat has: 52 numbers and a name.
const maxStat = 1536

// readKernel reads the start of a file that is the kernel's memory and no disk.
// os.ReadFile asks the runtime's poller about every file first, which takes
// longer than the reading, and this is done for each birth and death.
func readKernel(path string, b []byte) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, b)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// bootTime returns CLOCK_BOOTTIME in nanoseconds.
func bootTime() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Nano())
}

// pidfdExited tells whether the process of a pidfd is dead, all its threads
// included. On doubt it is not (R4).
func pidfdExited(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return err == nil && n == 1 && p[0].Revents&unix.POLLIN != 0
		}
	}
}

// pidfdStatus returns the wait status of a process that was no child of ours. It
// is known on Linux 6.15 and later once somebody has reaped the process.
func pidfdStatus(fd int) (syscall.WaitStatus, bool) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(fd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return 0, false
	}
	return syscall.WaitStatus(info.Exit_code), true
}

// deathStatus returns the wait status of a process that was no child of ours, of
// which pidfdExited says that it is dead. Until it is reaped its status is in its
// stat. Who may not look reads 0 there, and may not look at its exe either.
func deathStatus(fd, pid int, start uint64) (syscall.WaitStatus, bool) {
	if ws, known := pidfdStatus(fd); known {
		return ws, true
	}
	if _, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe"); errors.Is(err, os.ErrNotExist) {
		if st, err := readStat(pid); err == nil && st.zombie && st.start == start {
			return syscall.WaitStatus(st.exit), true
		}
	}
	return pidfdStatus(fd) // perhaps it was reaped meanwhile
}

// Prewarm makes the runtime create threads until there are n, which it never
// gives back. Later, when the process table is full, it would die trying to
// create one. It takes some milliseconds, a second at most, and gives up
// without a word where there are no descriptors.
func Prewarm(n int) {
	var p [2]int
	if unix.Pipe2(p[:], unix.O_CLOEXEC) != nil {
		return
	}
	var done sync.WaitGroup
	for range n {
		done.Go(func() {
			var b [1]byte
			_, _ = syscall.Read(p[0], b[:])
		})
	}
	for until := time.Now().Add(time.Second); threads() < n && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	_, _ = unix.Write(p[1], make([]byte, n))
	done.Wait()
	unix.Close(p[0])
	unix.Close(p[1])
}

func threads() int {
	d, _ := os.ReadDir("/proc/self/task")
	return len(d)
}

// reserve holds two descriptors back, so that a fork is still possible when all
// others are in use.
type reserve struct {
	mu  sync.Mutex
	fds []int
}

func (r *reserve) fill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.fds) < 2 {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		r.fds = append(r.fds, fd)
	}
}

func (r *reserve) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fd := range r.fds {
		unix.Close(fd)
	}
	r.fds = nil
}

// closeOnExec keeps what our own parent left open from the services.
func closeOnExec() {
	if unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	fds, _ := os.ReadDir("/proc/self/fd") // before Linux 5.11
	for _, d := range fds {
		if fd, err := strconv.Atoi(d.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// closeAll closes the descriptors that are open (not negative) and forgets them.
func closeAll(fds ...*int) {
	for _, fd := range fds {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}
