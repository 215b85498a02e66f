package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"supd/journal/control/wire"
	"supd/journal/event"
)

// Role is what an actor may do.
type Role int

// The roles. Command includes Read.
const (
	RoleNone Role = iota
	RoleRead
	RoleCommand
)

// Access says who may use the socket and, where there is one, the listener on
// the network. On the socket, root and the owner may command.
type Access struct {
	Owner      int     // uid of the socket's owner
	AdminGroup *int    // members may command; nil: no such group
	ReadGroup  *int    // members may read; nil: no such group
	Network    Network // the zero value lets nobody in
}

// Peer is who is at the other end of a connection: of the socket, the process
// that the kernel named when it connected; of the network, whoever proved to
// have the secret of Key.
type Peer struct {
	event.Client
	Groups []int // supplementary groups

	Key    string // public nkey; empty: a process on this machine
	Remote string // address, of a peer on the network
	trust  string // Network.trust when it connected
}

// Actor is the name under which the peer appears in subjects and records.
func (p Peer) Actor() string {
	if p.Key != "" {
		return wire.ActorOf(p.Key)
	}
	return "uid-" + strconv.Itoa(p.UID)
}

// process is who connected, for records; nil on the network, where no kernel
// vouches for a process.
func (p Peer) process() *event.Client {
	if p.Key != "" {
		return nil
	}
	client := p.Client
	return &client
}

func (p Peer) in(group *int) bool {
	return group != nil && (p.GID == *group || slices.Contains(p.Groups, *group))
}

// Role is what a peer may do.
func (a Access) Role(p Peer) Role {
	switch {
	case p.Key != "" && p.trust != a.Network.trust:
		return RoleNone // what was proven then would not do now
	case p.Key != "":
		return a.Network.Keys[p.Key]
	case p.UID == 0 || p.UID == a.Owner || p.in(a.AdminGroup):
		return RoleCommand
	case p.in(a.ReadGroup):
		return RoleRead
	}
	return RoleNone
}

// peerOf asks the kernel who is at the other end of a unix socket.
func peerOf(conn net.Conn) (Peer, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("cannot tell who connected: not a unix socket but %T", conn)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("cannot tell who connected: %w", err)
	}
	var (
		cred   *unix.Ucred
		groups []int
		inner  error
	)
	err = raw.Control(func(fd uintptr) {
		if cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); inner == nil {
			groups, inner = peerGroups(int(fd))
		}
	})
	if err = errors.Join(err, inner); err != nil {
		return Peer{}, fmt.Errorf("cannot tell who connected: %w", err)
	}
	p := Peer{Groups: groups}
	p.UID, p.GID, p.PID = int(cred.Uid), int(cred.Gid), int(cred.Pid)
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID)); err == nil {
		p.Comm = string(bytes.ToValidUTF8(bytes.TrimRight(comm, "\n"), []byte("?")))
	}
	return p, nil
}

// peerGroups reads SO_PEERGROUPS, for which x/sys has no function. The kernel
// says how much room it needs when the first guess is too small.
func peerGroups(fd int) ([]int, error) {
	buf := make([]byte, 4*64)
	for range 2 {
		size := uint32(len(buf))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch errno {
		case 0:
			groups := make([]int, 0, size/4)
			for i := uint32(0); i+4 <= size; i += 4 {
				groups = append(groups, int(binary.NativeEndian.Uint32(buf[i:])))
			}
			return groups, nil
		case unix.ERANGE:
			buf = make([]byte, size)
		default:
			return nil, fmt.Errorf("getsockopt SO_PEERGROUPS: %w", errno)
		}
	}
	return nil, errors.New("getsockopt SO_PEERGROUPS: the groups keep growing")
}
