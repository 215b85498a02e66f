package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Close flushes to durable until ctx ends, then shuts down in order. The run
// log stays: the next engine of this boot starts from it. It returns what is
// not durable or not closed; whatever it returns, the journal is unusable.
func (j *Journal) Close(ctx context.Context) error { return j.close(ctx, false) }

// Retire is Close after an orderly end of supd: if all that the run log holds
// is durable, the run log is removed, so that nobody's memory is held. The
// next Open starts from JOURNAL.
func (j *Journal) Retire(ctx context.Context) error { return j.close(ctx, true) }

func (j *Journal) close(ctx context.Context, forGood bool) error {
	var errs []error
	if j.stop != nil {
		close(j.closing)
		if err := j.q.wait(ctx, j.q.newest()); err != nil {
			errs = append(errs, fmt.Errorf("records after %d are kept and not durable: %w", j.Durable(), err))
		}
		j.stop()
		<-j.done
		if forGood && len(errs) == 0 {
			errs = append(errs, j.retire(ctx))
		}
	}
	// The flush may have used up the time; closing gets a little of its own.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return errors.Join(append(errs, j.release(end))...)
}

const closeTimeout = 2 * time.Second

// retire removes the run log: all it holds is durable, and memory that nobody
// uses should not be held. node.json first says that this boot has none, so a
// crash in between does not look like a loss.
func (j *Journal) retire(ctx context.Context) error {
	if err := j.awaitNote(ctx); err != nil {
		return err
	}
	j.identity.Boot = ""
	if err := storeIdentity(filepath.Join(j.cfg.StateDir, "node.json"), j.identity); err != nil {
		return err
	}
	if err := removePlace(j.path); err != nil {
		return fmt.Errorf("cannot remove run log: %w", err)
	}
	if dir := filepath.Dir(j.path); filepath.Dir(dir) == sharedDir {
		_ = os.Remove(dir) // stays if evidence was set aside in it
	}
	return nil
}

// release ends the server and lets go of run log and lock. A server that hangs
// may still write, so the lock stays ours until this process is gone (R5).
func (j *Journal) release(ctx context.Context) error {
	var errs []error
	if j.log != nil {
		errs = append(errs, j.log.close())
	}
	if j.server != nil {
		if s, err := j.server(); err == nil {
			if err := s.shutdown(ctx); err != nil {
				return errors.Join(append(errs, err)...)
			}
		}
	}
	if j.lock != nil {
		errs = append(errs, j.lock.release())
	}
	return errors.Join(errs...)
}
