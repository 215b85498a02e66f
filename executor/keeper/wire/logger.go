package wire

import "fmt"

// LoggerFD is the descriptor on which the keeper gives the logger its socket.
const LoggerFD = 3

// LoggerConn is the logger's end of its socket to the keeper. Its methods may be
// called from any goroutine.
type LoggerConn struct{ conn *Conn }

// NewLoggerConn takes over fd, usually LoggerFD.
func NewLoggerConn(fd int) (*LoggerConn, error) {
	c, err := NewConn(fd)
	if err != nil {
		return nil, err
	}
	return &LoggerConn{c}, nil
}

// Recv waits for the keeper's next order: *Attach, *Settings or *Finish. The
// descriptor is the pipe's read end of an Attach, which the caller must close,
// and -1 otherwise. It returns io.EOF when the keeper is gone.
func (l *LoggerConn) Recv() (m Message, pipe int, err error) {
	m, fds, err := l.conn.Recv()
	if err != nil {
		return nil, -1, err
	}
	switch m.(type) {
	case *Attach:
		return m, fds[0], nil
	case *Settings, *Finish:
		return m, -1, nil
	}
	return nil, -1, fmt.Errorf("%w: the keeper sent the logger %s", ErrMalformed, m.Kind())
}

// Drained tells that all output of the stream was taken: the pipe is at its end.
func (l *LoggerConn) Drained(instance string, stream Stream) error {
	return l.conn.Send(&Drained{Instance: instance, Stream: stream})
}

// Event hands the engine up to MaxEvent bytes through the keeper, which drops
// the oldest if the engine is away for more than 256 of them, and counts it.
func (l *LoggerConn) Event(data []byte) error {
	return l.conn.Send(&LoggerEvent{Data: data})
}

// Close ends the connection and wakes Recv.
func (l *LoggerConn) Close() error { return l.conn.Close() }
