package control

import (
	"github.com/nats-io/nkeys"

	"supd/journal/control/wire"
)

// inbox is who hears the replies sent to a token. Connections of one user
// may share it, for instance while one replaces another.
type inbox struct {
	peer Peer // who connected last
	uses int
}

// hold gives a token to a peer, unless another actor has it or it is
// another's key: a key names the inbox of whoever has it and names no other.
func (b *Bridge) hold(token string, p Peer) bool {
	if nkeys.IsValidPublicUserKey(token) && token != p.Key {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	box := b.inboxes[token]
	if box == nil {
		box = &inbox{peer: p}
		b.inboxes[token] = box
	}
	if box.peer.Actor() != p.Actor() {
		return false
	}
	box.peer = p
	box.uses++
	return true
}

func (b *Bridge) drop(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if box := b.inboxes[token]; box != nil {
		if box.uses--; box.uses == 0 {
			delete(b.inboxes, token)
		}
	}
}

// client is who listens at a reply subject, if a live connection of this
// actor has that inbox.
func (b *Bridge) client(actor, reply string) (Peer, bool) {
	token := wire.TokenOf(reply)
	b.mu.Lock()
	defer b.mu.Unlock()
	box := b.inboxes[token]
	if box == nil || box.peer.Actor() != actor {
		return Peer{}, false
	}
	return box.peer, true
}
