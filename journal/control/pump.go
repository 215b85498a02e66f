package control

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// violation begins the text of the server's -ERR lines about permissions.
const violation = "Permissions Violation for "

// toClient serialises the two who write to a client: the pump, whole messages
// at a time, and the guard with its answers.
type toClient struct {
	mu   sync.Mutex
	conn net.Conn
	w    *bufio.Writer
}

// clientWriteTime bounds one write to a client that does not read.
const clientWriteTime = 15 * time.Second

func (t *toClient) Write(b []byte) (int, error) {
	if err := t.conn.SetWriteDeadline(time.Now().Add(clientWriteTime)); err != nil {
		return 0, err
	}
	return t.conn.Write(b)
}

func newToClient(conn net.Conn) *toClient {
	t := &toClient{conn: conn}
	t.w = bufio.NewWriterSize(t, 16<<10)
	return t
}

// line sends one whole line at once. A failed write shows at the next read.
func (t *toClient) line(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.w.Write(b)
	t.w.Flush()
}

func (t *toClient) flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.w.Flush()
}

// pump carries what the server says to the client. It keeps the server's INFO
// lines, for the client has the bridge's, and sees permission violations.
type pump struct {
	in     *bufio.Reader // from the server
	out    *toClient
	denied func(subject string)
}

// run returns when either side is gone.
func (p *pump) run() error {
	for {
		if p.in.Buffered() == 0 {
			if err := p.out.flush(); err != nil {
				return err
			}
		}
		line, err := p.in.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				return fmt.Errorf("cannot read from the server: a line is longer than %d bytes", p.in.Size())
			}
			return err
		}
		if err := p.pass(line); err != nil {
			return err
		}
	}
}

func (p *pump) pass(line []byte) error {
	op, _, _ := bytes.Cut(line, []byte(" "))
	payload := 0
	switch string(bytes.TrimRight(op, "\r\n")) {
	case "INFO":
		return nil
	case "MSG", "HMSG":
		fields := bytes.Fields(line)
		n, err := strconv.Atoi(string(fields[len(fields)-1]))
		if err != nil || n < 0 {
			return fmt.Errorf("cannot read from the server: message size in %.80q", line)
		}
		payload = n + len("\r\n")
	case "-ERR":
		if s := violationSubject(string(line)); s != "" {
			p.denied(s)
		}
	}
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	if _, err := p.out.w.Write(line); err != nil {
		return err
	}
	_, err := io.CopyN(p.out.w, p.in, int64(payload))
	return err
}

// violationSubject is the subject in a line such as
// -ERR 'Permissions Violation for Publish to "sup.n.evt.x"'.
func violationSubject(line string) string {
	_, rest, ok := strings.Cut(line, violation)
	if !ok {
		return ""
	}
	quoted := rest[max(strings.IndexByte(rest, '"'), 0):]
	prefix, err := strconv.QuotedPrefix(quoted)
	if err != nil {
		return ""
	}
	s, _ := strconv.Unquote(prefix)
	return s
}
