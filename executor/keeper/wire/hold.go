package wire

import "math/bits"

// Held is which descriptors of an instance travel with a Hold, as bits; they
// come in this order.
type Held uint8

// What may be held.
const (
	HeldProcess Held = 1 << iota // the pidfd of the main process
	HeldStdout                   // the read end of its stdout
	HeldStderr                   // the read end of its stderr

	heldAll = HeldProcess | HeldStdout | HeldStderr
)

// Hold gives the engine copies of descriptors, which travel with it. The
// engine does nothing with them but keep them: if the keeper dies, exit statuses and
// what is in the pipes are not lost with it (P8), and the next keeper is given
// the copies. It comes before the slot says that the instance is parked, so
// before anything of it can run, and again to each new engine.
type Hold struct {
	Instance string
	Held     Held
	Merged   bool   // stderr shares stdout's pipe
	Settings []byte // for the logger, as in Park
}

// Kind names the type.
func (*Hold) Kind() Kind { return KindHold }

// Descriptors is how many travel with it: one for each bit.
func (m *Hold) Descriptors() int { return bits.OnesCount8(uint8(m.Held)) }

func (m *Hold) walk(c *codec) {
	c.id(&m.Instance)
	c.enum((*uint8)(&m.Held), uint8(HeldProcess), uint8(heldAll))
	c.bool(&m.Merged)
	c.bytes(&m.Settings, MaxSettings)
}

// Released tells that a forgotten instance has no slot any more, so that the
// engine gives up what it knows and holds of it (P9).
type Released struct{ Instance string }

// Kind names the type.
func (*Released) Kind() Kind { return KindReleased }

func (m *Released) walk(c *codec) { c.id(&m.Instance) }

// Upgrade asks the keeper to execute another program in its place: the descriptor
// that travels with it. If that works, this engine is killed and the next one
// finds the id in Info.Upgrade; else UpgradeFailed answers.
type Upgrade struct{ ID string }

// UpgradeFailed tells that everything goes on as before.
type UpgradeFailed struct {
	ID    string
	Error string
}

// Kind names the type.
func (*Upgrade) Kind() Kind { return KindUpgrade }

// Kind names the type.
func (*UpgradeFailed) Kind() Kind { return KindUpgradeFailed }

func (m *Upgrade) walk(c *codec) { c.id(&m.ID) }

func (m *UpgradeFailed) walk(c *codec) {
	c.id(&m.ID)
	c.str(&m.Error, MaxText)
}
