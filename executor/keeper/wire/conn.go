package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// SendFD sends m and its descriptors on the non-blocking socket fd. It returns
// unix.EAGAIN, unwrapped, if the socket is full; scratch is reused if it is
// large enough.
func SendFD(fd int, scratch []byte, m Message, fds ...int) error {
	if len(fds) != Descriptors(m) {
		return fmt.Errorf("cannot send %s: %d descriptors, want %d", m.Kind(), len(fds), Descriptors(m))
	}
	packet, err := Encode(scratch[:0], m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		_, err = unix.SendmsgN(fd, packet, rights, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			break
		}
	}
	// Too many descriptors in flight heals like a full buffer: the peer reads.
	if err == unix.EAGAIN || err == unix.ETOOMANYREFS || err == unix.ENOBUFS {
		return unix.EAGAIN
	}
	if err != nil {
		return fmt.Errorf("cannot send %s: %w", m.Kind(), err)
	}
	return nil
}

// RecvFD receives one message from the non-blocking socket fd; scratch must hold
// MaxPacket+1 bytes. It returns unix.EAGAIN, unwrapped, if there is none, io.EOF
// if the peer is gone, and an error wrapping ErrMalformed for a broken packet.
// The received descriptors are close-on-exec and belong to the caller.
func RecvFD(fd int, scratch []byte) (Message, []int, error) {
	var oob [128]byte
	var n, oobn, flags int
	var err error
	for {
		n, oobn, flags, _, err = unix.Recvmsg(fd, scratch, oob[:], unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.EAGAIN {
		return nil, nil, unix.EAGAIN
	}
	if err == unix.ECONNRESET {
		return nil, nil, io.EOF
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot receive: %w", err)
	}
	return open(scratch[:n], oob[:oobn], flags)
}

// open takes a received packet apart and checks its descriptors.
func open(packet, oob []byte, flags int) (Message, []int, error) {
	fds, err := rights(oob)
	if err == nil && len(packet) == 0 && len(fds) == 0 {
		return nil, nil, io.EOF // a sequenced-packet socket tells its end as an empty packet
	}
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = fmt.Errorf("%w: larger than allowed", ErrMalformed)
	}
	var m Message
	if err == nil {
		m, err = Decode(packet)
	}
	if err == nil && len(fds) != Descriptors(m) {
		err = fmt.Errorf("%w: %s with %d descriptors", ErrMalformed, m.Kind(), len(fds))
	}
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, nil, err
	}
	return m, fds, nil
}

func rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("%w: control data: %w", ErrMalformed, err)
	}
	var fds []int
	for i := range msgs {
		if got, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds, nil
}

// Conn is a child's end of its socket to the keeper. Send and Recv may be used
// at the same time, each from any goroutine, and wait as long as it takes.
type Conn struct {
	unix *net.UnixConn

	sending sync.Mutex
	out     []byte // guarded by sending

	receiving sync.Mutex
	in        []byte // guarded by receiving
}

// NewConn takes over fd, an AF_UNIX SOCK_SEQPACKET socket, and closes it.
func NewConn(fd int) (*Conn, error) {
	f := os.NewFile(uintptr(fd), "keeper")
	if f == nil {
		return nil, fmt.Errorf("cannot use descriptor %d", fd)
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use descriptor %d as the keeper's socket: %w", fd, err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("cannot use descriptor %d as the keeper's socket: it is %s", fd, c.LocalAddr().Network())
	}
	return &Conn{unix: u, in: make([]byte, MaxPacket+1)}, nil
}

// Send sends m with its descriptors, which stay the caller's.
func (c *Conn) Send(m Message, fds ...int) error {
	if len(fds) != Descriptors(m) {
		return fmt.Errorf("cannot send %s: %d descriptors, want %d", m.Kind(), len(fds), Descriptors(m))
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	packet, err := Encode(c.out[:0], m)
	if err != nil {
		return err
	}
	c.out = packet
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := c.unix.WriteMsgUnix(packet, oob, nil); err != nil {
		return fmt.Errorf("cannot send %s to the keeper: %w", m.Kind(), err)
	}
	return nil
}

// Recv waits for the next message. It returns io.EOF when the keeper is gone and
// net.ErrClosed after Close. The descriptors are close-on-exec and belong to the
// caller.
func (c *Conn) Recv() (Message, []int, error) {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	var oob [128]byte
	n, oobn, flags, _, err := c.unix.ReadMsgUnix(c.in, oob[:])
	switch {
	case errors.Is(err, net.ErrClosed):
		return nil, nil, net.ErrClosed
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, io.EOF):
		return nil, nil, io.EOF
	case err != nil:
		return nil, nil, fmt.Errorf("cannot receive from the keeper: %w", err)
	}
	return open(c.in[:n], oob[:oobn], flags)
}

// Close ends the connection and wakes Recv.
func (c *Conn) Close() error { return c.unix.Close() }
