package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"supd/journal/blocks"
	"supd/journal/event"
)

// ReadCopy has the embedded server open a copy of the journal's blocks and
// hands each record to yield, in order; an error of yield ends it. The folder
// holds what a stream's folder does (msgs, and batches if there are any) and is
// used up: its files are moved, and the server repairs them as it likes.
//
// The stream's description is made here and none of the copy is read, which
// may be damaged, or made by somebody so that the server would do something.
// The server listens nowhere.
func ReadCopy(ctx context.Context, folder string, log *slog.Logger, yield func(blocks.Entry) error) error {
	cfg := &Config{Node: "*", StateDir: filepath.Join(folder, "server"), MaxBytes: 1 << 50, SyncInterval: time.Hour, Log: log}
	err := withServer(ctx, cfg, func(js jetstream.JetStream) error {
		stream := streamConfig(cfg)
		stream.MaxBytes, stream.MaxMsgs = -1, -1
		_, err := js.CreateStream(ctx, stream)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot make a stream to read through: %w", err)
	}
	dir := blocks.StreamDir(filepath.Join(cfg.StateDir, "journal"))
	for _, name := range []string{"msgs", "batches"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("cannot put the copy in place: %w", err)
		}
		err := os.Rename(filepath.Join(folder, name), filepath.Join(dir, name))
		if err != nil && !(name == "batches" && errors.Is(err, os.ErrNotExist)) {
			return fmt.Errorf("cannot put the copy in place: %w", err)
		}
	}
	return withServer(ctx, cfg, func(js jetstream.JetStream) error { return readAll(ctx, js, yield) })
}

// withServer does something with a server of its own.
func withServer(ctx context.Context, cfg *Config, do func(jetstream.JetStream) error) error {
	s, err := startServer(cfg)
	if err != nil {
		return err
	}
	if err = s.enable(ctx); err == nil {
		var js jetstream.JetStream
		if js, err = jetstream.New(s.nc); err == nil {
			err = do(js)
		}
	}
	return errors.Join(err, s.shutdown(ctx))
}

// readAll reads the stream to the end that it has.
func readAll(ctx context.Context, js jetstream.JetStream, yield func(blocks.Entry) error) error {
	st, err := js.Stream(ctx, event.Stream)
	if err != nil {
		return fmt.Errorf("cannot open the copy: %w", err)
	}
	if st.CachedInfo().State.Msgs == 0 {
		return nil
	}
	c, err := st.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("cannot read the copy: %w", err)
	}
	all, err := c.Messages(jetstream.PullMaxMessages(4096))
	if err != nil {
		return fmt.Errorf("cannot read the copy: %w", err)
	}
	defer all.Stop()
	for {
		m, err := all.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("cannot read the copy to its end: %w", err)
		}
		about, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("cannot read the copy: %w", err)
		}
		e := blocks.Entry{StreamSeq: about.Sequence.Stream, Time: about.Timestamp, Subject: m.Subject(), Data: m.Data()}
		if err := yield(e); err != nil {
			return err
		}
		if about.NumPending == 0 {
			return nil
		}
	}
}
