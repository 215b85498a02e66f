package journal

import (
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Config says where the journal lives and how large it may become. Zero sizes
// mean the defaults.
type Config struct {
	StateDir   string // STATE: node.json, lock, journal/
	RuntimeDir string // holds the run log if it is tmpfs
	Node       string // one subject token

	// MemoryFD is a memfd that outlives the engine and holds the run log where
	// neither the runtime folder nor /dev/shm is tmpfs; 0 if there is none.
	MemoryFD int

	RunLogSize   int64         // bytes; default 16 MiB, at least MinRunLog
	MaxRecords   int64         // of JOURNAL; default 1,000,000
	MaxBytes     int64         // of JOURNAL; default 1 GiB
	MaxConsumers int           // of JOURNAL; 0 is no limit
	SyncInterval time.Duration // 0 syncs every publish; else power loss may cost this much

	LockWait    time.Duration // how long to wait for a predecessor's lock
	Moved       bool          // the state folder was moved on purpose
	NewIdentity bool          // the state folder is a copy that lives on beside its original
	Safe        bool          // JetStream stays off at first (R12); records are only kept

	// Authentication decides about all connections but our own. Nil lets
	// nobody else in.
	Authentication server.Authentication
	// Options may bound connections in the server's options before it starts;
	// nil changes nothing. It cannot replace Authentication.
	Options func(*server.Options)
	Notify  Notify
	Log     *slog.Logger // nil discards
}

func (c *Config) fill() error {
	if c.StateDir == "" || c.RuntimeDir == "" || c.Node == "" {
		return errors.New("cannot open journal: state folder, runtime folder and node must be given")
	}
	if c.RunLogSize == 0 {
		c.RunLogSize = 16 << 20
	}
	c.RunLogSize = max(c.RunLogSize, MinRunLog)
	if c.MaxRecords == 0 {
		c.MaxRecords = 1_000_000
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
