package policy

import (
	"fmt"
	"time"

	"supd/journal/event"
	"supd/projector"
)

// Now is the time of an input, drawn once at the edge.
type Now struct {
	Wall time.Time
	Mono int64 // CLOCK_BOOTTIME, nanoseconds
	Boot string
}

// Moment is now as records carry it.
func (n Now) Moment() event.Moment { return event.Moment{Mono: n.Mono, Wall: n.Wall} }

// Mint turns a draft into the next record: it numbers, stamps, chains and
// encodes it. The executor's mint draws ids and is called in order.
type Mint func(event.Draft) (event.Encoded, error)

// Tx is one decision: the records that follow from one input. Emit applies
// each at once, so later parts of the decision see what earlier ones did.
type Tx struct {
	State   *projector.State
	Now     Now
	Rand    float64 // in [0, 1): the chance of this input
	Records []event.Encoded
	Effects []Effect
	Touched map[string]bool // services whose duties may have changed

	mint      Mint
	settledTo int // records up to here have been followed by converge
}

// NewTx starts a decision on the state.
func NewTx(s *projector.State, now Now, rand float64, mint Mint) *Tx {
	return &Tx{State: s, Now: now, Rand: rand, Touched: map[string]bool{}, mint: mint}
}

// Actor of what supd decides by itself.
const self = "supd"

// emit writes a record about a service that supd decided, caused by the
// record or command with the given id.
func (tx *Tx) emit(service, cause string, d event.Data) event.Record {
	return tx.emitAs(self, service, cause, d)
}

func (tx *Tx) emitAs(actor, service, cause string, d event.Data) event.Record {
	e, err := tx.mint(event.Draft{Subject: service, Cause: cause, Actor: actor, Data: d})
	if err == nil {
		err = tx.State.Apply(e)
	}
	if err != nil {
		// A decision that contradicts the state it was made on is a bug, and
		// going on would act without a record. The engine dies here and is
		// restarted from what is recorded (R12).
		panic(fmt.Sprintf("cannot decide: %v", err))
	}
	tx.Records = append(tx.Records, e)
	if service != "" {
		tx.Touched[service] = true
	}
	return e.Record
}

// Effect is what a decision asks of the executor beside its records: an act
// that may be lost in a crash, because recovery asks for it again.
type Effect interface{ effect() }

// Drop closes the gate of a parked stub that is not needed: it ends without
// executing anything.
type Drop struct{ Instance string }

// Forget tells the keeper that the exit of an instance is recorded.
type Forget struct{ Instance string }

// Reply answers the caller of a command when the record Seq is committed: the
// one whose request is being decided, or everyone who waits for the command.
type Reply struct {
	Command  string
	Reply    event.CommandReply
	Everyone bool
}

// Quit ends supd in good order: the last record is supd.stopped. KeepServices
// tells that some may live: those that were to be left running, or stuck ones
// that a forced end leaves behind.
type Quit struct{ KeepServices bool }

func (Drop) effect()   {}
func (Forget) effect() {}
func (Reply) effect()  {}
func (Quit) effect()   {}

func (tx *Tx) act(e Effect) { tx.Effects = append(tx.Effects, e) }
