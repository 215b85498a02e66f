package control

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// guard carries what a client says to the server. It understands every
// operation and writes it anew; whatever it does not understand ends the
// connection.
type guard struct {
	in     *bufio.Reader // from the client
	out    *bufio.Writer // to the server
	answer func([]byte)  // one whole line to the client

	actor     string
	inbox     string // prefix of the connection's own reply subjects
	consumers *consumers
	denied    func(subject string)
}

// errProtocol ends a connection whose client did not keep to the protocol.
var errProtocol = errors.New("protocol error")

// run returns when either side is gone or the client broke the protocol.
func (g *guard) run() error {
	for {
		if g.in.Buffered() == 0 {
			if err := g.out.Flush(); err != nil {
				return err
			}
		}
		line, err := g.line()
		if err != nil {
			return err
		}
		if err := g.operation(line); err != nil {
			return err
		}
	}
}

func (g *guard) line() (string, error) {
	b, err := g.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(b) > maxLine {
		return "", fmt.Errorf("%w: a line is longer than %d bytes", errProtocol, maxLine)
	}
	if err != nil {
		return "", err
	}
	return string(bytes.TrimRight(b, "\r\n")), nil
}

func (g *guard) operation(line string) error {
	args := strings.Fields(line)
	if len(args) == 0 {
		return fmt.Errorf("%w: empty line", errProtocol)
	}
	op, args := strings.ToUpper(args[0]), args[1:]
	switch {
	case (op == "PING" || op == "PONG") && len(args) == 0:
		return g.write(op)
	case op == "SUB" && (len(args) == 2 || len(args) == 3):
		return g.subscribe(args)
	case op == "UNSUB" && (len(args) == 1 || len(args) == 2):
		return g.unsubscribe(args)
	case op == "PUB" && (len(args) == 2 || len(args) == 3):
		return g.publish(args, false)
	case op == "HPUB" && (len(args) == 3 || len(args) == 4):
		return g.publish(args, true)
	}
	return fmt.Errorf("%w: unknown operation", errProtocol)
}

func (g *guard) subscribe(args []string) error {
	sid := args[len(args)-1]
	if !validSubject(args[0], true) || len(args) == 3 && !validSubject(args[1], false) || !validSID(sid) {
		return fmt.Errorf("%w: SUB", errProtocol)
	}
	return g.write("SUB", args...)
}

func (g *guard) unsubscribe(args []string) error {
	if !validSID(args[0]) {
		return fmt.Errorf("%w: UNSUB", errProtocol)
	}
	if len(args) == 2 {
		if _, err := size(args[1], 1<<31-1); err != nil {
			return err
		}
	}
	return g.write("UNSUB", args...)
}

// message is one publication of a client, its payload still unread.
type message struct {
	subject, reply string
	headers, size  int // bytes; size without the headers
}

func parsePublish(args []string, headers bool) (m message, err error) {
	sizes := 1
	if headers {
		sizes = 2
	}
	names, numbers := args[:len(args)-sizes], args[len(args)-sizes:]
	if m.size, err = size(numbers[sizes-1], maxPayload); err != nil {
		return m, err
	}
	if headers {
		if m.headers, err = size(numbers[0], m.size); err != nil {
			return m, err
		}
		m.size -= m.headers
	}
	m.subject = names[0]
	if len(names) == 2 {
		m.reply = names[1]
	}
	if !validSubject(m.subject, true) || m.reply != "" && !validSubject(m.reply, true) {
		return m, fmt.Errorf("%w: invalid subject", errProtocol)
	}
	return m, nil
}

// publish passes a message on without its headers: they are instructions to
// the server, and no subject that clients may use needs any.
func (g *guard) publish(args []string, headers bool) error {
	m, err := parsePublish(args, headers)
	if err != nil {
		return err
	}
	if _, err := g.in.Discard(m.headers); err != nil {
		return err
	}
	if m.reply != "" && (!strings.HasPrefix(m.reply, g.inbox) || !validSubject(m.reply, false)) {
		return g.deny(m, "Publish with Reply of", m.reply)
	}
	if name, ok := strings.CutPrefix(m.subject, apiConsumerCreate); ok {
		return g.createConsumer(m, name)
	}
	if !validSubject(m.subject, false) {
		return g.deny(m, "Publish to", m.subject)
	}
	name, deletes := strings.CutPrefix(m.subject, apiConsumerDelete)
	if deletes && g.consumers.nobodys(name) {
		// A client of an engine that died tidies up what died with it. The server
		// says so; it is asked about a name that no consumer can have, for those of
		// the engine itself are in nobody's table either.
		m.subject = apiConsumerDelete + goneConsumer
	} else if name := consumerOf(m.subject); name != "" && !g.consumers.use(g.actor, name) {
		return g.deny(m, "Publish to", m.subject)
	}
	if deletes {
		g.consumers.release(g.actor, name)
	}
	if err := g.publishLine(m); err != nil {
		return err
	}
	if _, err := io.CopyN(g.out, g.in, int64(m.size)); err != nil {
		return err
	}
	if err := g.payloadEnd(); err != nil {
		return err
	}
	_, err = g.out.WriteString("\r\n")
	return err
}

func (g *guard) publishLine(m message) error {
	if m.reply == "" {
		return g.write("PUB", m.subject, strconv.Itoa(m.size))
	}
	return g.write("PUB", m.subject, m.reply, strconv.Itoa(m.size))
}

func (g *guard) payloadEnd() error {
	var end [2]byte
	if _, err := io.ReadFull(g.in, end[:]); err != nil {
		return err
	}
	if string(end[:]) != "\r\n" {
		return fmt.Errorf("%w: no line end behind a payload", errProtocol)
	}
	return nil
}

// createConsumer passes a rewritten request on. rest is NAME or NAME.FILTER;
// the filter in the subject is left out, the request carries it too.
func (g *guard) createConsumer(m message, rest string) error {
	name, _, _ := strings.Cut(rest, ".")
	if !validConsumerName(name) || m.size > maxConsumerRequest {
		return g.deny(m, "Publish to", m.subject)
	}
	body := make([]byte, m.size)
	if _, err := io.ReadFull(g.in, body); err != nil {
		return err
	}
	if err := g.payloadEnd(); err != nil {
		return err
	}
	body, err := rewriteConsumer(name, body)
	if err != nil {
		g.refuse("Publish to", m.subject, err.Error())
		return nil
	}
	evicted, ok := g.consumers.claim(g.actor, name)
	if !ok {
		g.refuse("Publish to", m.subject, "the consumer is another's")
		return nil
	}
	if evicted != "" {
		if err := g.write("PUB", apiConsumerDelete+evicted, "0"); err != nil {
			return err
		}
		if err := g.write(""); err != nil {
			return err
		}
	}
	m.subject, m.size = apiConsumerCreate+name, len(body)
	if err := g.publishLine(m); err != nil {
		return err
	}
	return g.write(string(body))
}

// consumerOf is the consumer that a request or an acknowledgement is for, if
// it is one that only the owner may send.
func consumerOf(subject string) string {
	for _, prefix := range []string{apiConsumerNext, apiConsumerDelete, ackPrefix} {
		if rest, ok := strings.CutPrefix(subject, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			return name
		}
	}
	return ""
}

// deny drops a message and tells the client as the server would.
func (g *guard) deny(m message, what, subject string) error {
	if _, err := g.in.Discard(m.size); err != nil {
		return err
	}
	if err := g.payloadEnd(); err != nil {
		return err
	}
	g.refuse(what, subject, "")
	return nil
}

func (g *guard) refuse(what, subject, why string) {
	text := fmt.Sprintf("%s%s %q", violation, what, subject)
	if why != "" {
		text += ": " + why
	}
	g.answer(errLine(text))
	g.denied(subject)
}

// write sends one line to the server.
func (g *guard) write(op string, args ...string) error {
	g.out.WriteString(op)
	for _, a := range args {
		g.out.WriteByte(' ')
		g.out.WriteString(a)
	}
	_, err := g.out.WriteString("\r\n") // a bufio.Writer keeps its first error
	return err
}

func size(s string, limit int) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || int(n) > limit {
		return 0, fmt.Errorf("%w: size %.20q is not a number up to %d", errProtocol, s, limit)
	}
	return int(n), nil
}

// validSID allows what clients use as subscription ids: short words.
func validSID(s string) bool { return len(s) <= 64 && validConsumerName(s) }

// validSubject tells whether s is a subject of non-empty tokens without
// control characters; wildcards are whole tokens and only where allowed.
func validSubject(s string, wildcards bool) bool {
	if s == "" || len(s) > 1024 || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		switch {
		case t == "":
			return false
		case !strings.ContainsAny(t, "*>"):
		case !wildcards || len(t) > 1 || t == ">" && i < len(tokens)-1:
			return false
		}
	}
	return true
}
