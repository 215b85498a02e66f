package keeper

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// NotifyPath is where the notify socket of a keeper is that has its control
// socket at the path given.
func NotifyPath(controlSocket string) string {
	return filepath.Join(filepath.Dir(controlSocket), "notify.sock")
}

// listenNotify binds the socket on which services say how they are (sd_notify).
// The keeper holds it and reads nothing: what is sent while no engine lives waits
// in it (P8). The kernel adds to each datagram who sent it. At first its owner
// alone may write; each user of a service is added when that service starts.
func listenNotify(path string) (int, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		_ = os.Remove(path)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	if err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1) // Linux 6.5
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		closeAll(&fd)
		return -1, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return fd, nil
}

// The words of an access control list as the file system keeps it.
const (
	aclVersion = 2
	aclOwner   = 0x01
	aclUser    = 0x02
	aclGroup   = 0x04
	aclMask    = 0x10
	aclOther   = 0x20
	aclNobody  = 1<<32 - 1 // the id of entries that have none
	aclRW      = 6
)

// maxGranted bounds the users in the list; with more of them everybody may write,
// and what strangers say is dropped by the engine as ever.
const maxGranted = 1024

// grant lets a user write to the notify socket. It is a call on the runtime
// folder, like the binding of the socket.
func (k *keeper) grant(uid uint32) {
	if int(uid) == os.Geteuid() || slices.Contains(k.granted, uid) || k.notify < 0 {
		return
	}
	k.granted = append(k.granted, uid)
	slices.Sort(k.granted)
	path := NotifyPath(k.cfg.SocketPath)
	err := error(unix.E2BIG)
	if len(k.granted) <= maxGranted {
		err = unix.Lsetxattr(path, "system.posix_acl_access", accessList(k.granted), 0)
	}
	if err == nil {
		return
	}
	k.log.Warn("the notify socket cannot be opened to single users; everybody may write to it, and messages of strangers are dropped", "error", err)
	if err := os.Chmod(path, 0o666); err != nil {
		k.log.Error("a service cannot say that it is ready", "uid", uid, "error", err)
	}
}

// accessList lets the owner and the users given read and write, nobody else.
func accessList(users []uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	add := func(tag, perm uint16, id uint32) {
		b = binary.LittleEndian.AppendUint16(b, tag)
		b = binary.LittleEndian.AppendUint16(b, perm)
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	add(aclOwner, aclRW, aclNobody)
	for _, uid := range users {
		add(aclUser, aclRW, uid)
	}
	add(aclGroup, 0, aclNobody)
	add(aclMask, aclRW, aclNobody)
	add(aclOther, 0, aclNobody)
	return b
}

// grantedOn returns the users that an earlier keeper let write to the socket.
func grantedOn(path string) []uint32 {
	b := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(path, "system.posix_acl_access", b)
	if err != nil || n < 4 {
		return nil
	}
	var users []uint32
	for e := b[4:n]; len(e) >= 8; e = e[8:] {
		if binary.LittleEndian.Uint16(e) == aclUser {
			users = append(users, binary.LittleEndian.Uint32(e[4:]))
		}
	}
	return users
}
