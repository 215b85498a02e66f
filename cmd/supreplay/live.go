package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"time"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/folders"
	"supd/journal/blocks"
	"supd/journal/event"
)

// Times of questions to a running supd.
const (
	askTimeout  = 10 * time.Second
	liveTimeout = time.Hour // reading a whole journal through the socket
)

// openSocket opens the journal of a running supd. Its files are read where
// they are found and permitted, because only they show damage; else supd is
// asked for the records.
func openSocket(socket string) (*source, error) {
	info, err := askInfo(socket)
	if err != nil {
		return nil, &coded{exitcode.Unreachable, err}
	}
	for _, folder := range []string{filepath.Dir(info.Output.Directory), folders.State()} {
		if r, err := blocks.Open(filepath.Join(folder, "journal")); err == nil && nodeID(folder) == info.NodeID {
			return &source{name: folder, folder: folder, nodeID: info.NodeID, reader: r, running: true, socket: socket}, nil
		}
	}
	return &source{name: socket, nodeID: info.NodeID, reader: &stream{socket: socket}, running: true, socket: socket}, nil
}

func dial(ctx context.Context, socket string) (*client.Client, error) {
	c, err := client.Dial(ctx, socket, client.Options{Name: "supreplay"})
	var explained *client.Error
	if errors.As(err, &explained) && explained.Hint != "" {
		err = fmt.Errorf("%w: %s", err, explained.Hint)
	}
	return c, err
}

func askInfo(socket string) (info event.Info, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	c, err := dial(ctx, socket)
	if err != nil {
		return info, err
	}
	defer c.Close()
	return info, c.Ask(ctx, event.AskInfo, nil, &info)
}

// dump is the state that the running supd has now. A supd of another node at
// the socket is not the one whose journal is read.
func (s *source) dump() (d event.Dump, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	c, err := dial(ctx, s.socket)
	if err != nil {
		return d, err
	}
	defer c.Close()
	var info event.Info
	if err := c.Ask(ctx, event.AskInfo, nil, &info); err != nil {
		return d, err
	}
	if s.nodeID != "" && info.NodeID != s.nodeID {
		return d, fmt.Errorf("the supd at %s is another node's", s.socket)
	}
	return d, c.Ask(ctx, event.AskDump, nil, &d)
}

// stream reads records through the control socket. A record's own number
// stands for its place in the stream.
type stream struct{ socket string }

// errEnough ends reading early.
var errEnough = errors.New("enough")

// Records implements records. An error is of the connection, and the last.
func (r *stream) Records(from uint64) iter.Seq2[blocks.Entry, error] {
	return func(yield func(blocks.Entry, error) bool) {
		ctx, cancel := context.WithTimeout(context.Background(), liveTimeout)
		defer cancel()
		c, err := dial(ctx, r.socket)
		if err == nil {
			defer c.Close()
			err = c.Events(ctx, client.EventsQuery{From: event.Seq(from)}, func(s client.Stored) error {
				if !yield(blocks.Entry{StreamSeq: uint64(s.Record.Seq), Time: s.Record.Time, Data: s.Bytes, File: r.socket}, nil) {
					return errEnough
				}
				return nil
			})
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(blocks.Entry{}, fmt.Errorf("cannot read the journal to its end: %w", err))
		}
	}
}
