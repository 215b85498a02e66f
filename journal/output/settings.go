package output

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The streams of a service. With merged output only Stdout exists.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// What to do with output that cannot be written.
const (
	OnFullBlock = "block"
	OnFullDrop  = "drop"
)

// How closed segments are kept.
const (
	CompressNone = "none"
	CompressGzip = "gzip"
)

// Settings say how the output of one service is kept. They travel as JSON and
// may change while the service runs.
type Settings struct {
	// Capture and Merge are for whoever makes the pipes. The logger keeps the
	// bytes of every pipe it is handed, whatever they say.
	Capture bool `json:"capture"`
	Merge   bool `json:"merge"`
	// MaxSize closes a segment at this many bytes; 0 or less is 16 MiB.
	MaxSize int64 `json:"max_size"`
	// MaxFiles is how many closed segments are kept for each stream; 0 keeps
	// only the active one, less than 0 is 8.
	MaxFiles int `json:"max_files"`
	// MaxAge removes closed segments that were last written longer ago; 0 is
	// no limit. An active segment closes when its first byte is that old, so
	// nothing is kept much longer than twice this.
	MaxAge time.Duration `json:"max_age"`
	// OnFull is "block" (also the empty string) or "drop".
	OnFull string `json:"on_full"`
	// Compress is "none" (also the empty string) or "gzip", for closed segments.
	// What is compressed already stays so.
	Compress string `json:"compress"`
}

// DefaultSettings are those of a service that sets nothing.
func DefaultSettings() Settings {
	return Settings{
		Capture: true, MaxSize: defaultMaxSize, MaxFiles: defaultMaxFiles,
		OnFull: OnFullBlock, Compress: CompressNone,
	}
}

const (
	defaultMaxSize  = 16 << 20
	defaultMaxFiles = 8
)

// filled returns s with its stand-ins for "default" replaced.
func (s Settings) filled() Settings {
	if s.MaxSize <= 0 {
		s.MaxSize = defaultMaxSize
	}
	if s.MaxFiles < 0 {
		s.MaxFiles = defaultMaxFiles
	}
	return s
}

// instanceID is an instance's UUID as the index stores it; zero is unknown.
type instanceID [16]byte

// parseInstance reads a UUID in its usual form; the empty string is unknown.
func parseInstance(s string) (instanceID, error) {
	var id instanceID
	if s == "" {
		return id, nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(id) || len(s) != 36 {
		return id, fmt.Errorf("instance %q is not a UUID", s)
	}
	copy(id[:], b)
	return id, nil
}

// String is the usual form of the UUID, or empty when it is unknown.
func (id instanceID) String() string {
	if id == (instanceID{}) {
		return ""
	}
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// checkService refuses names that are no single folder name.
func checkService(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("service name %q is not usable as a folder name", name)
	}
	return nil
}

func checkStream(name string) error {
	if name != Stdout && name != Stderr {
		return fmt.Errorf("stream %q is neither stdout nor stderr", name)
	}
	return nil
}

// ErrClosed is returned by calls on a logger that has finished.
var ErrClosed = errors.New("the logger has finished")
