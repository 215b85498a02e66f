package journal

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"

	"supd/journal/event"
)

// expireCache gives up what a block of JetStream has in memory, unless some of
// it is not on disk yet or was used a moment ago.
//
//go:linkname expireCache github.com/nats-io/nats-server/v2/server.(*msgBlock).tryForceExpireCache
func expireCache(block unsafe.Pointer)

//go:linkname lookupStream github.com/nats-io/nats-server/v2/server.(*Account).lookupStream
func lookupStream(a *server.Account, name string) (unsafe.Pointer, error)

//go:linkname storeOf github.com/nats-io/nats-server/v2/server.(*stream).Store
func storeOf(stream unsafe.Pointer) server.StreamStore

// pastExpiry is longer than the age at which the server gives up a cache (10 s
// and the 100 ms of its own clock).
const pastExpiry = 11 * time.Second

// restWait bounds how long Rest waits for a store that hangs with its disk.
const restWait = time.Second

// Rest gives back memory while nothing is recorded: JetStream keeps a copy of
// the newest block, up to 4 MiB, until ten seconds after its last use, and after
// that in a pool until the collector has run twice, which in a process that
// sleeps takes minutes. Nothing is lost: what is not written yet stays. A
// failure costs memory and nothing else, so none is told.
func (j *Journal) Rest() {
	j.mu.Lock()
	open := j.stream != nil
	j.mu.Unlock()
	if !open {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), restWait)
	defer cancel()
	if s, err := j.server(); err == nil {
		_ = s.guard.do(ctx, s.rest)
	}
}

// rest expires the cache of the block that is written to. The server has no
// call for it, so the block is found by the names of its fields; where they are
// others the memory stays (TestRest).
func (s *natsServer) rest() error {
	stream, err := lookupStream(s.srv.GlobalAccount(), event.Stream)
	if err != nil {
		return err
	}
	v := reflect.ValueOf(storeOf(stream))
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return errOtherStore
	}
	mu, block := v.Elem().FieldByName("mu"), v.Elem().FieldByName("lmb")
	if !mu.IsValid() || mu.Type() != reflect.TypeFor[sync.RWMutex]() || !block.IsValid() || block.Kind() != reflect.Pointer {
		return errOtherStore
	}
	lock := (*sync.RWMutex)(mu.Addr().UnsafePointer())
	lock.RLock()
	newest := block.UnsafePointer()
	lock.RUnlock()
	if newest == nil {
		return nil
	}
	// The cache goes by the server's clock, which is ours (quiet.go). What is
	// written in this moment counts as newer than it is and stays a little longer.
	accessTime.Store(time.Now().Add(pastExpiry).UnixNano())
	expireCache(newest)
	accessTime.Store(time.Now().UnixNano())
	return nil
}

var errOtherStore = errors.New("cannot give back the journal's cache: this version of the server has another store")
