package wire

import "fmt"

// Kind is the first byte of every packet.
type Kind uint8

// Message is one packet. All implementations are pointers to the structs of this
// package.
type Message interface {
	// Kind names the type of the message.
	Kind() Kind
	walk(*codec)
}

// The kinds, by speaker. Numbers are never reused: an engine may be newer than
// the keeper it finds.
const (
	// Engine to keeper.
	KindPark Kind = iota + 1
	KindOpen
	KindDrop
	KindSignal
	KindSweep
	KindForget
	KindAdopt
	KindSettings // engine to keeper, relayed to the logger
	KindHostSignalDone
	KindQuit

	// Keeper to engine.
	KindInfo
	KindTableEnd
	KindSlot
	KindOperation
	KindLogger
	KindLoggerEvent // logger to keeper, relayed to the engine
	KindHostSignal

	// Keeper to logger.
	KindAttach
	KindFinish

	// Logger to keeper.
	KindDrained

	// Engine to keeper.
	KindGrant

	// Keeper to engine.
	KindHold
	KindReleased
	KindUpgradeFailed

	// Engine to keeper.
	KindUpgrade
	KindFollow
)

// kinds holds what is known about each kind: its name, a fresh message, and how
// many descriptors travel with it.
var kinds = [...]struct {
	name  string
	blank func() Message
	fds   int
}{
	KindPark:           {"park", func() Message { return new(Park) }, 1},
	KindOpen:           {"open", func() Message { return new(Open) }, 0},
	KindDrop:           {"drop", func() Message { return new(Drop) }, 0},
	KindSignal:         {"signal", func() Message { return new(Signal) }, 0},
	KindSweep:          {"sweep", func() Message { return new(Sweep) }, 0},
	KindForget:         {"forget", func() Message { return new(Forget) }, 0},
	KindAdopt:          {"adopt", func() Message { return new(Adopt) }, 0},
	KindSettings:       {"settings", func() Message { return new(Settings) }, 0},
	KindHostSignalDone: {"host-signal-done", func() Message { return new(HostSignalDone) }, 0},
	KindQuit:           {"quit", func() Message { return new(Quit) }, 0},
	KindInfo:           {"info", func() Message { return new(Info) }, 0},
	KindTableEnd:       {"table-end", func() Message { return new(TableEnd) }, 0},
	KindSlot:           {"slot", func() Message { return new(Slot) }, 0},
	KindOperation:      {"operation", func() Message { return new(Operation) }, 0},
	KindLogger:         {"logger", func() Message { return new(Logger) }, 0},
	KindLoggerEvent:    {"logger-event", func() Message { return new(LoggerEvent) }, 0},
	KindHostSignal:     {"host-signal", func() Message { return new(HostSignal) }, 0},
	KindAttach:         {"attach", func() Message { return new(Attach) }, 1},
	KindFinish:         {"finish", func() Message { return new(Finish) }, 0},
	KindDrained:        {"drained", func() Message { return new(Drained) }, 0},
	KindHold:           {"hold", func() Message { return new(Hold) }, 0}, // as it says itself
	KindReleased:       {"released", func() Message { return new(Released) }, 0},
	KindUpgradeFailed:  {"upgrade-failed", func() Message { return new(UpgradeFailed) }, 0},
	KindUpgrade:        {"upgrade", func() Message { return new(Upgrade) }, 1},
	KindGrant:          {"grant", func() Message { return new(Grant) }, 0},
	KindFollow:         {"follow", func() Message { return new(Follow) }, 0},
}

// String returns the kind's name.
func (k Kind) String() string {
	if int(k) < len(kinds) && kinds[k].name != "" {
		return kinds[k].name
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Descriptors returns how many descriptors must travel with m.
func Descriptors(m Message) int {
	if h, ok := m.(*Hold); ok {
		return h.Descriptors()
	}
	return m.Kind().Descriptors()
}

// Descriptors returns how many descriptors must travel with a message of kind k,
// if that is the same for all of them.
func (k Kind) Descriptors() int {
	if int(k) < len(kinds) {
		return kinds[k].fds
	}
	return 0
}

func blank(k Kind) Message {
	if int(k) < len(kinds) && kinds[k].blank != nil {
		return kinds[k].blank()
	}
	return nil
}
