package journal

import (
	"context"
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

// note stores that this boot has a run log, in the background: a disk that hangs
// or is full keeps nobody from starting (P5).
func (j *Journal) note() {
	if j.identity.Boot == j.boot {
		close(j.noted)
		return
	}
	// Once it is stored, a missing run log in this boot is a loss, and shows.
	j.identity.Boot = j.boot
	id := j.identity
	go func() {
		defer close(j.noted)
		if err := storeIdentity(filepath.Join(j.cfg.StateDir, "node.json"), id); err != nil {
			j.cfg.Log.Warn("cannot note this boot", "error", err)
		}
	}()
}

// awaitNote returns when node.json is stored, or ctx's error.
func (j *Journal) awaitNote(ctx context.Context) error {
	select {
	case <-j.noted:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot store node.json: %w", ctx.Err())
	}
}
