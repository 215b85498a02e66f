package control

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"supd/journal/control/wire"
	"supd/journal/event"
)

const (
	handshakeTime = 5 * time.Second
	maxConnect    = 64 << 10 // bytes of the CONNECT line
	maxLine       = 4096     // bytes of any other line
	maxPayload    = 1 << 20  // bytes of a client's message; the largest request is a quarter of it
)

// greeting is the INFO line. The bridge writes its own and keeps the
// server's, so that a connection costs the server nothing before the client
// has said who it is.
type greeting struct {
	ID         string    `json:"server_id"`
	Name       string    `json:"server_name"`
	Version    string    `json:"version"`
	Go         string    `json:"go"` // empty on the network: nobody there needs it
	Host       string    `json:"host"`
	Port       int       `json:"port"`
	Headers    bool      `json:"headers"`
	MaxPayload int       `json:"max_payload"`
	JetStream  bool      `json:"jetstream"`
	Proto      int       `json:"proto"`
	APILevel   int       `json:"api_lvl"`
	Supd       wire.Info `json:"supd"`

	// Of the network alone.
	Auth      bool   `json:"auth_required,omitempty"`
	TLS       bool   `json:"tls_required,omitempty"`
	TLSVerify bool   `json:"tls_verify,omitempty"` // a certificate is wanted
	Nonce     string `json:"nonce,omitempty"`      // to be signed
}

// greeting is what a client of the socket is greeted with.
func (b *Bridge) greeting(actor string) greeting {
	return greeting{
		ID: b.id, Name: b.cfg.Node, Version: server.VERSION, Go: runtime.Version(), Host: "localhost",
		Headers: true, MaxPayload: maxPayload, JetStream: true, Proto: 1, APILevel: server.JSApiLevel,
		Supd: wire.Info{Node: b.cfg.Node, Actor: actor},
	}
}

func greetingLine(g greeting) []byte {
	b, err := event.Marshal(g)
	if err != nil {
		panic(fmt.Sprintf("cannot write the greeting: %v", err)) // strings and numbers only
	}
	return append(append([]byte("INFO "), b...), "\r\n"...)
}

// refusal is the -ERR line that tells a client why it is turned away.
func refusal(code, format string, args ...any) []byte {
	return errLine(wire.Refusal + code + ": " + fmt.Sprintf(format, args...))
}

// errLine writes one -ERR line; quotes and line ends cannot break it up.
func errLine(text string) []byte {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == '\'' || r == 0x7f {
			return '_'
		}
		return r
	}, text)
	return []byte("-ERR '" + text + "'\r\n")
}

// connect is what is kept of a client's CONNECT. Credentials, accounts and
// whatever else could raise rights are not.
type connect struct {
	Verbose      bool   `json:"verbose"`
	Pedantic     bool   `json:"pedantic"`
	TLSRequired  bool   `json:"tls_required"`
	Token        string `json:"auth_token"`
	Name         string `json:"name"`
	Lang         string `json:"lang"`
	Version      string `json:"version"`
	Protocol     int    `json:"protocol"`
	Echo         bool   `json:"echo"`
	Headers      bool   `json:"headers"`
	NoResponders bool   `json:"no_responders"`

	inbox  string // token the client chose, or one it cannot know
	chosen bool   // the client chose it
	proof  proof  // of who it is, on the network
}

// proof is a public nkey and a signature by its secret.
type proof struct {
	Key       string `json:"nkey"`
	Signature string `json:"sig"`
}

var errNotNATS = errors.New("the first line is not a CONNECT of the NATS protocol")

// readConnect reads the first line of a client. The reader's connection has a
// deadline; the line's length is bounded here.
func readConnect(r *bufio.Reader) (connect, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		if len(line) > maxConnect {
			return connect{}, fmt.Errorf("%w: longer than %d bytes", errNotNATS, maxConnect)
		}
		if err == nil {
			return parseConnect(line)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return connect{}, fmt.Errorf("cannot read the first line: %w", err)
		}
		if len(line) >= len("CONNECT ") && !isConnect(line) {
			return connect{}, errNotNATS
		}
	}
}

func isConnect(line []byte) bool {
	return len(line) > 8 && bytes.EqualFold(line[:7], []byte("CONNECT")) && (line[7] == ' ' || line[7] == '\t')
}

func parseConnect(line []byte) (connect, error) {
	if !isConnect(line) {
		return connect{}, errNotNATS
	}
	in := struct {
		connect
		proof
		User string `json:"user"`
	}{connect: connect{Echo: true}} // what the server assumes where it is absent
	if err := json.Unmarshal(line[8:], &in); err != nil {
		return connect{}, fmt.Errorf("%w: %w", errNotNATS, err)
	}
	c := in.connect
	c.proof = in.proof
	if c.inbox = in.User; c.inbox == "" {
		c.inbox = in.Token // the nats command sends a --user without password as a token
	}
	c.Token, c.TLSRequired = "", false
	for _, s := range []*string{&c.Name, &c.Lang, &c.Version} {
		*s = printable(*s, 128)
	}
	if c.chosen = wire.ValidToken(c.inbox); !c.chosen {
		c.inbox = rand.Text()
	}
	return c, nil
}

// line writes the CONNECT the server gets.
func (c connect) line(token string) []byte {
	c.Token = token
	b, err := event.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("cannot write CONNECT: %v", err)) // strings, numbers and booleans only
	}
	return append(append([]byte("CONNECT "), b...), "\r\n"...)
}

// printable cuts text from outside to n bytes and takes control characters out.
func printable(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}
