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

// readAll asks for one record after the other, because a consumer waits for ever
// for one that the server counts and cannot read.
func readAll(ctx context.Context, js jetstream.JetStream, yield func(blocks.Entry) error) error {
	st, err := js.Stream(ctx, event.Stream)
	if err != nil {
		return fmt.Errorf("cannot open the copy: %w", err)
	}
	state := st.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := st.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // the chain of records tells what is missing
		}
		if err != nil {
			return fmt.Errorf("cannot read the copy, at stream record %d: %w", seq, err)
		}
		e := blocks.Entry{StreamSeq: m.Sequence, Time: m.Time, Subject: m.Subject, Data: m.Data}
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}
