package control

// ReaderToken gives a token with a reader's permissions and no guard before
// it.
func (a *Authentication) ReaderToken(actor, inbox string) string {
	return a.grant(grant{actor: actor, role: RoleRead, inbox: inbox})
}

// Open is the number of connection ends the bridge holds.
func (b *Bridge) Open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open)
}
