package control

import (
	"crypto/rand"
	"crypto/subtle"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"supd/journal/control/wire"
	"supd/journal/event"
)

// Bounds of what one connection may hold in the server.
const (
	maxSubscriptions = 1024
	maxPendingBytes  = 8 << 20 // not yet read by the client; then the server closes it
)

// grant is what a one-time token is worth.
type grant struct {
	actor string
	role  Role
	inbox string
}

// Authentication decides for the embedded server who a connection is. It
// accepts the engine's own token, with all rights, and the one-time tokens of
// the bridge, with the rights of their actor; nothing else. It is safe for
// concurrent use.
type Authentication struct {
	node     string
	internal string

	mu      sync.Mutex
	pending map[string]grant
}

var _ server.Authentication = (*Authentication)(nil)

// NewAuthentication makes the authentication of one embedded server.
func NewAuthentication(node string) *Authentication {
	return &Authentication{node: node, internal: rand.Text(), pending: map[string]grant{}}
}

// InternalToken is the token of the engine's own connections (nats.Token). It
// is drawn anew in each engine and never leaves its memory.
func (a *Authentication) InternalToken() string { return a.internal }

// Configure sets what the embedded server needs for untrusted clients: this
// authentication and bounds for each connection (P9).
func (a *Authentication) Configure(o *server.Options) {
	o.CustomClientAuthentication = a
	o.MaxSubs = maxSubscriptions
	o.MaxPending = maxPendingBytes
	o.MaxControlLine = maxLine
	o.AuthTimeout = handshakeTime.Seconds()
	o.WriteDeadline = 10 * time.Second
}

// Check implements server.Authentication.
func (a *Authentication) Check(c server.ClientAuthentication) bool {
	token := c.GetOpts().Token
	if token == "" {
		return false
	}
	if subtle.ConstantTimeCompare([]byte(token), []byte(a.internal)) == 1 {
		c.RegisterUser(&server.User{Username: "supd"})
		return true
	}
	a.mu.Lock()
	g, ok := a.pending[token]
	delete(a.pending, token)
	a.mu.Unlock()
	if !ok {
		return false
	}
	c.RegisterUser(&server.User{Username: g.actor, Permissions: permissions(a.node, g)})
	return true
}

// grant gives a token that is good for one connection.
func (a *Authentication) grant(g grant) string {
	token := rand.Text()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending[token] = g
	return token
}

// revoke takes back a token that may not have been used.
func (a *Authentication) revoke(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, token)
}

// Subjects of the JetStream API that clients may use, all on the journal.
// Whatever could change the stream is not among them, nor is anything that
// makes the server deliver unasked.
const (
	apiConsumerCreate = "$JS.API.CONSUMER.CREATE." + event.Stream + "."
	apiConsumerInfo   = "$JS.API.CONSUMER.INFO." + event.Stream + "."
	apiConsumerDelete = "$JS.API.CONSUMER.DELETE." + event.Stream + "."
	apiConsumerNext   = "$JS.API.CONSUMER.MSG.NEXT." + event.Stream + "."
	ackPrefix         = "$JS.ACK." + event.Stream + "."
)

func readAPI() []string {
	return []string{
		"$JS.API.INFO",
		"$JS.API.STREAM.NAMES",
		"$JS.API.STREAM.LIST",
		"$JS.API.STREAM.INFO." + event.Stream,
		"$JS.API.STREAM.MSG.GET." + event.Stream,
		"$JS.API.DIRECT.GET." + event.Stream,
		"$JS.API.DIRECT.GET." + event.Stream + ".>",
		"$JS.API.CONSUMER.NAMES." + event.Stream,
		"$JS.API.CONSUMER.LIST." + event.Stream,
		apiConsumerCreate + ">",
		apiConsumerInfo + "*",
		apiConsumerDelete + "*",
		apiConsumerNext + "*",
		ackPrefix + ">",
	}
}

// permissions are the second wall: what an actor may publish and hear.
func permissions(node string, g grant) *server.Permissions {
	publish := append(readAPI(), event.AskSubjects(node, g.actor))
	if g.role == RoleCommand {
		publish = append(publish, event.CommandSubjects(node, g.actor))
	}
	// One server has one node's records, so a reader of many nodes may ask each
	// of them for sup.*.evt.>.
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{event.RecordSubjects("*"), wire.Inbox(g.inbox) + ">"}},
	}
}
