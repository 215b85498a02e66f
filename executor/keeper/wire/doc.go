// Package wire is the language the keeper speaks with its engine and its
// logger: one message per packet of an AF_UNIX SOCK_SEQPACKET pair, descriptors
// beside it by SCM_RIGHTS.
//
// The engine sends verbs (Park, Open, Signal, …). The keeper answers with state
// and never with events: a Slot or an Operation is the whole present truth about
// one instance or one act. A packet that could not be sent because the socket
// was full is therefore simply sent later, newer, and an engine that died missed
// nothing (P8). The engine's side (package keeper, Client) turns changes of
// state back into events in their contracted order.
//
// Every message type has one method, walk, that both encodes and decodes it, so
// the two directions cannot drift apart. Encoding is canonical: each valid
// packet has exactly one message and each message exactly one packet. All fields
// are bounded (P9); a packet outside the bounds is malformed and its sender is
// at fault.
package wire
