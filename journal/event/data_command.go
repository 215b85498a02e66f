package event

import "time"

// Client is the process that sent a command, as the kernel told it.
type Client struct {
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	PID  int    `json:"pid"`
	Comm string `json:"comm,omitempty"`
}

// CommandAcceptedData is the acknowledgement of a command: from here on it
// has exactly one end (P2). Targets are resolved at acceptance, sorted.
type CommandAcceptedData struct {
	Command  string            `json:"command"` // the caller's UUIDv7
	Verb     Verb              `json:"verb"`
	Patterns []string          `json:"patterns"`
	Targets  []string          `json:"targets"`
	Args     map[string]string `json:"args,omitempty"`
	Client   *Client           `json:"client"`           // null: supd's own, or of the network
	Remote   string            `json:"remote,omitempty"` // address of a client on the network
	SentAt   time.Time         `json:"sent_at"`
}

// Result is how a command ended for one of its targets.
type Result struct {
	Service  string  `json:"service"`
	Outcome  Outcome `json:"outcome"`
	Error    string  `json:"error,omitempty"`
	Instance string  `json:"instance,omitempty"`
}

// CommandEndedData is the one end of an accepted command.
type CommandEndedData struct {
	Command  string   `json:"command"`
	Outcome  Outcome  `json:"outcome"`
	Results  []Result `json:"results"`
	Duration Duration `json:"duration"`
}

// Reasons for which a command is rejected.
const (
	RejectMalformed      = "malformed"
	RejectTooLarge       = "too-large"
	RejectUnknownService = "unknown-service"
	RejectIDConflict     = "id-conflict"
	RejectBusy           = "busy"
	RejectShuttingDown   = "shutting-down"
)

// CommandRejectedData says that a request never became a command. Count is
// more than 1 where equal rejections were folded into one record, so that a
// flood cannot fill the journal.
type CommandRejectedData struct {
	Command *string `json:"command"`
	Reason  string  `json:"reason"`
	Detail  string  `json:"detail"` // at most MaxDetail bytes
	Count   int     `json:"count"`
}

// MaxDetail bounds texts that come from outside, in bytes.
const MaxDetail = 256

// AccessDeniedData counts attempts of an actor on a subject it may not use.
type AccessDeniedData struct {
	Subject string `json:"subject"`
	Count   int    `json:"count"`
}

// Kind returns CommandAccepted.
func (CommandAcceptedData) Kind() Kind { return CommandAccepted }

// Kind returns CommandEnded.
func (CommandEndedData) Kind() Kind { return CommandEnded }

// Kind returns CommandRejected.
func (CommandRejectedData) Kind() Kind { return CommandRejected }

// Kind returns AccessDenied.
func (AccessDeniedData) Kind() Kind { return AccessDenied }
