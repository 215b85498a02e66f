package journal

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// That the server's index is older than its blocks is so after each kill: it is
// no warning. All other warnings are.
func TestStaleIndexIsNoWarning(t *testing.T) {
	var b bytes.Buffer
	l := natsLogger{slog.New(slog.NewTextHandler(&b, nil))}
	l.Warnf("Filestore [JOURNAL] Recovering stream state from index errored: %v", "prior state file")
	if b.Len() > 0 {
		t.Errorf("a stale index is shown: %s", b.String())
	}
	l.Warnf("Filestore [JOURNAL] %s", "loss of data")
	if !strings.Contains(b.String(), "level=WARN") || !strings.Contains(b.String(), "loss of data") {
		t.Errorf("a warning is lost: %q", b.String())
	}
}
