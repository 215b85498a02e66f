// Package projector rebuilds the state of supd by folding the journal: the
// same records always give the same state, byte for byte (P6).
//
//	s := projector.New()
//	for _, e := range records {
//		if err := s.Apply(e); err != nil { … }
//	}
//	fmt.Printf("%s\n", s.Canonical())
//
// Apply is the only function that changes a State. It performs nothing and
// decides nothing: what supd does is decided in executor/policy and arrives
// here as a record. So the package reads no clock, draws no chance and does
// no I/O, and a State must not be shared between goroutines.
//
// Beside it a state remembers the last deaths of each service, for people:
// bases carry them (Kept), no decision reads them, and they are not part of the
// canonical form.
//
// Seq and Hash say which record the state is at. They are not part of the
// canonical form, so two journals that say the same about services have the
// same state.
package projector
