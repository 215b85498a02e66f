package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a handover.
const (
	giveFDs   = 200              // descriptors per packet; the kernel takes 253
	giveLimit = 30 * time.Second // for each packet, and for the heir's word that it goes on: a loaded machine is slow
	maxEstate = 256 << 20        // bytes of an estate
)

// AcceptHeir takes the next who wants to take over on heirs, a non-blocking
// listening socket. It returns unix.EAGAIN if nobody does. Only the same user and
// root are heard.
func AcceptHeir(heirs int) (conn int, err error) {
	conn, _, err = unix.Accept4(heirs, unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, err
	}
	cred, err := unix.GetsockoptUcred(conn, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err == nil && cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		err = fmt.Errorf("cannot hand over to user %d", cred.Uid)
	}
	if err == nil {
		err = timeouts(conn)
	}
	if err != nil {
		closeAll(&conn)
		return -1, err
	}
	return conn, nil
}

func timeouts(conn int) error {
	t := unix.NsecToTimeval(int64(giveLimit))
	return errors.Join(unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &t),
		unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t))
}

// Give hands copies of the estate to an heir and waits for the word that it goes
// on. After nil the estate is the heir's, and the caller must do nothing more
// than end at once; after an error it is still the caller's.
func (e *Estate) Give(conn int) error {
	defer unix.Close(conn)
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("cannot hand over: %w", err)
	}
	memory, err := sealedMemory("supd-estate", text, 0)
	if err != nil {
		return fmt.Errorf("cannot hand over: %w", err)
	}
	defer unix.Close(memory)
	fds := []int{memory}
	for _, p := range e.descriptors() {
		fds = append(fds, *p)
	}
	for len(fds) > 0 {
		n := min(len(fds), giveFDs)
		if err := sendFDs(conn, fds[:n]); err != nil {
			return fmt.Errorf("cannot hand over: %w", err)
		}
		fds = fds[n:]
	}
	if n, err := readWord(conn); n != 1 {
		return fmt.Errorf("cannot hand over: whoever asked for it is gone (%v)", err)
	}
	return nil
}

func sendFDs(conn int, fds []int) error {
	for until := time.Now().Add(giveLimit); ; time.Sleep(time.Millisecond) {
		_, err := unix.SendmsgN(conn, []byte{1}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
		// Too many descriptors in flight heals: the peer reads.
		if err != unix.EINTR && err != unix.ETOOMANYREFS || time.Now().After(until) {
			return err
		}
	}
}

// Inheritance is an estate that was received and not accepted yet.
type Inheritance struct {
	*Estate
	conn int
}

// TakeOver asks whoever holds what a dead keeper left in dir, the runtime folder,
// or a keeper that no person started, to hand it over; nil if there is nobody.
func TakeOver(dir string) (*Inheritance, error) {
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot take over: %w", err)
	}
	i := &Inheritance{conn: conn}
	err = timeouts(conn)
	if err == nil {
		err = unix.Connect(conn, &unix.SockaddrUnix{Name: heirsPath(dir)})
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
			closeAll(&conn)
			return nil, nil
		}
	}
	if err == nil {
		i.Estate, err = receive(conn)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ECONNRESET) {
		closeAll(&conn)
		return nil, nil // it ended instead, or is as good as dead
	}
	if err != nil {
		closeAll(&conn)
		return nil, fmt.Errorf("cannot take over: %w", err)
	}
	return i, nil
}

// receive reads an estate, with numbers of this process.
func receive(conn int) (e *Estate, err error) {
	got, err := recvFDs(conn)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for i := range got {
				closeAll(&got[i])
			}
		}
	}()
	if len(got) == 0 {
		return nil, errors.New("no estate came")
	}
	memory := got[0]
	defer unix.Close(memory)
	got = got[1:]
	text, err := io.ReadAll(io.NewSectionReader(preader(memory), 0, maxEstate))
	if err != nil {
		return nil, err
	}
	e = NewEstate()
	if err := json.Unmarshal(text, e); err != nil {
		return nil, err
	}
	if e.Format != EstateFormat {
		return nil, fmt.Errorf("its estate has format %d, this supd reads %d: use the same version, or supctl shutdown --keep-services first", e.Format, EstateFormat)
	}
	all := e.descriptors()
	for len(got) < len(all) {
		more, err := recvFDs(conn)
		if err != nil {
			return nil, err
		}
		got = append(got, more...)
	}
	if len(got) != len(all) {
		return nil, fmt.Errorf("%d descriptors came, want %d", len(got), len(all))
	}
	for i, p := range all {
		*p = got[i]
	}
	return e, nil
}

func recvFDs(conn int) ([]int, error) {
	var b [1]byte
	oob := make([]byte, unix.CmsgSpace(4*giveFDs))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(conn, b[:], oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 && oobn == 0 {
			return nil, io.EOF
		}
		var fds []int
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		for i := range msgs {
			got, _ := unix.ParseUnixRights(&msgs[i])
			fds = append(fds, got...)
		}
		if err == nil && flags&unix.MSG_CTRUNC != 0 {
			err = unix.EMFILE
		}
		if err != nil {
			for i := range fds {
				closeAll(&fds[i])
			}
			return nil, err
		}
		return fds, nil
	}
}

// readWord waits for the one byte that says that the other side goes on. A socket
// with a time limit returns EINTR for signals that restart other reads.
func readWord(conn int) (n int, err error) {
	var b [1]byte
	for {
		if n, err = unix.Read(conn, b[:]); err != unix.EINTR {
			return n, err
		}
	}
}

// FromKeeper tells that a living keeper gave it, with its lock, and not the
// engine of a dead one, which ends only when it hears that this process goes on.
func (i *Inheritance) FromKeeper() bool { return i.Estate.Keeper != nil && i.Lock >= 0 }

// Stop kills the engine and the logger that were left running, so that their
// locks become free. It may be called before Accept: the giver starts others if
// it has to go on.
func (i *Inheritance) Stop() {
	for _, fd := range i.Ending {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// Accept tells the giver that this process goes on, and waits until it is gone.
// An error means that it has given up, or died before it was told.
func (i *Inheritance) Accept() error {
	if _, err := unix.Write(i.conn, []byte{1}); err != nil {
		return fmt.Errorf("cannot take over: %w", err)
	}
	_, _ = readWord(i.conn) // the end of file is its end
	closeAll(&i.conn)
	return nil
}

// Refuse gives the estate back: the giver goes on. Nil may be refused too.
func (i *Inheritance) Refuse() {
	if i == nil {
		return
	}
	i.Estate.Close()
	closeAll(&i.conn)
}
