package journal

import "context"

// guard runs calls that can hang with the disk. At most one runs at a time,
// so a disk that hangs for days costs one goroutine and one thread (R2); a
// call that comes back late still has its effect, which callers must expect.
type guard struct{ busy chan struct{} }

func newGuard() guard { return guard{busy: make(chan struct{}, 1)} }

// do runs f and waits for it until ctx ends. It returns ErrHanging at once
// while an earlier f has not come back.
func (g guard) do(ctx context.Context, f func() error) error {
	select {
	case g.busy <- struct{}{}:
		return g.run(ctx, f)
	default:
		return ErrHanging
	}
}

// doAfter is do that first waits, until ctx ends, for an earlier call.
func (g guard) doAfter(ctx context.Context, f func() error) error {
	select {
	case g.busy <- struct{}{}:
		return g.run(ctx, f)
	case <-ctx.Done():
		return ErrHanging
	}
}

func (g guard) run(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := f()
		<-g.busy
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
