package journal

import (
	"fmt"
	"os"
	"path/filepath"
)

// Identify reads the identity of a state folder, or creates folder and
// identity if there is none. It is for whoever needs the node's id before an
// engine runs; a folder that another supd uses, a copied and a moved one are
// refused as by Open (R5).
func Identify(cfg Config) (Identity, error) {
	if err := cfg.fill(); err != nil {
		return Identity{}, err
	}
	if err := os.MkdirAll(cfg.StateDir, 0o755); err != nil {
		return Identity{}, fmt.Errorf("cannot create the state folder: %w", err)
	}
	lock, err := lockState(filepath.Join(cfg.StateDir, "lock"), cfg.LockWait)
	if err != nil {
		return Identity{}, err
	}
	defer lock.release()
	boot, err := Boot()
	if err != nil {
		return Identity{}, err
	}
	return loadIdentity(&cfg, boot)
}
