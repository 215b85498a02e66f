package executor

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The test binary is also the keeper, its helpers and the services of
// TestRealServices.
func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		play(role)
		return
	}
	goleak.VerifyTestMain(m)
}
