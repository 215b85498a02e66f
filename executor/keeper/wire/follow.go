package wire

// Follow asks to take another process of an instance's tree for its main one,
// because somebody of the instance said so (MAINPID). The slot is the answer:
// with that process, or with why not.
type Follow struct {
	Instance string
	PID      int
	Sender   uint32 // the user of who said it, as the kernel told
	User     uint32 // the user that the service runs as
}

// Refusal is why a process is not followed.
type Refusal uint8

// The reasons.
const (
	RefusalNone     Refusal = iota
	RefusalGone             // there is no such process, or it has ended
	RefusalStranger         // it is none of the instance's
	RefusalUser             // it is not the user's who named it
	RefusalRank             // who named it is neither root nor of the main process's user
	RefusalMain             // it is supd's own, or another main process
	RefusalEnded            // the instance has ended, or does not run yet
)

// String says it in a sentence's words, for people.
func (r Refusal) String() string {
	return word(uint8(r), "none", "there is no such process", "it is no process of this service",
		"it belongs to another user", "who named it may not speak for the main process",
		"it is a process of supd or the main process of another service", "the instance does not run")
}

// Kind names the type.
func (*Follow) Kind() Kind { return KindFollow }

func (m *Follow) walk(c *codec) {
	c.id(&m.Instance)
	c.count(&m.PID)
	c.u32(&m.Sender)
	c.u32(&m.User)
}
