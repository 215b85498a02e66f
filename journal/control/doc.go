// Package control lets clients in: a unix socket, and a listener on the network
// where one is wanted, carry the NATS protocol to the embedded server, and
// requests from there to the engine.
//
//	client ── unix socket ── Bridge ── in-process connection ── nats-server ── Server ── Handler
//	  │           SO_PEERCRED  │ guard               │ Authentication
//	  └── TCP, TLS, nkey ──────┴ one-time token ─────┘ subject permissions
//
// The NATS server alone cannot keep clients apart. It checks the subject a
// client publishes to, but not the reply subject, nor the deliver_subject of a
// consumer: with either, a mere reader could have the server itself publish on
// a command subject or into the journal. So two walls stand one behind the
// other (P10):
//
//   - The guard, in the bridge, reads every operation of a client and writes
//     it anew in canonical form: no byte of a client reaches the server's
//     parser as the client wrote it, payloads aside. Reply subjects must lie
//     in the connection's own inbox, headers are taken off (they can ask the
//     server to publish, as Nats-Trace-Dest does), and a consumer can only be
//     a bounded, ephemeral, pulling one that its creator alone may use.
//   - The server's subject permissions say what each actor may publish and
//     hear. The actor is a token of the subject, so a forged one is refused.
//
// Who a client is says the kernel (SO_PEERCRED, SO_PEERGROUPS), once, when it
// connects. On the network it proves to have the secret of an nkey, by signing
// the nonce of its connection, within TLS unless it is on the loopback; the
// bridge itself ends TLS and checks the signature, so that behind that point
// both ways are one, and nothing of a stranger reaches the embedded server.
// The bridge replaces the credentials in the client's CONNECT by a
// one-time token that Authentication redeems for an actor.
//
// Inboxes are per connection. A client names its inbox's token in the field
// "user" of CONNECT and prefixes reply subjects with "_INBOX.<token>."; ours
// draws it at random. People who use the nats command write
// --user TOKEN --inbox-prefix _INBOX.TOKEN (which it sends as auth_token; that
// names the inbox too where there is no user). A client that names none gets a
// token it cannot know: it may listen to the journal, but hears no replies. On
// the network the public key is the token of who names none, so that
// --nkey FILE --inbox-prefix _INBOX.KEY is enough; it names nobody else's inbox.
package control
