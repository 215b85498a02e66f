package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
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

// endpoint is where a running supd answers.
type endpoint struct {
	address string // the path of its socket, or a URL; empty if it is not known
	network client.Network
}

// remote tells that it is reached over the network.
func (e endpoint) remote() bool { return strings.Contains(e.address, "://") }

// openRunning opens the journal of a running supd. Its files are read where
// they are found and permitted, because only they show damage; else, and always
// over the network, supd is asked for the records.
func openRunning(at endpoint) (*source, error) {
	info, err := at.info()
	if err != nil {
		return nil, &coded{exitcode.Unreachable, err}
	}
	if !at.remote() {
		for _, folder := range []string{filepath.Dir(info.Output.Directory), folders.State()} {
			if r, err := blocks.Open(filepath.Join(folder, "journal")); err == nil && nodeID(folder) == info.NodeID {
				return &source{name: folder, folder: folder, nodeID: info.NodeID, reader: r, running: true, answers: at}, nil
			}
		}
	}
	return &source{name: at.address, nodeID: info.NodeID, reader: &stream{at}, running: true, answers: at}, nil
}

func (e endpoint) dial(ctx context.Context) (*client.Client, error) {
	c, err := client.Dial(ctx, e.address, client.Options{Name: "supreplay", Network: e.network})
	var explained *client.Error
	if errors.As(err, &explained) && explained.Hint != "" {
		err = fmt.Errorf("%w: %s", err, explained.Hint)
	}
	return c, err
}

func (e endpoint) info() (info event.Info, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	c, err := e.dial(ctx)
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
	c, err := s.answers.dial(ctx)
	if err != nil {
		return d, err
	}
	defer c.Close()
	var info event.Info
	if err := c.Ask(ctx, event.AskInfo, nil, &info); err != nil {
		return d, err
	}
	if s.nodeID != "" && info.NodeID != s.nodeID {
		return d, fmt.Errorf("the supd at %s is another node's", s.answers.address)
	}
	return d, c.Ask(ctx, event.AskDump, nil, &d)
}

// stream reads records from a running supd. A record's own number
// stands for its place in the stream.
type stream struct{ from endpoint }

// errEnough ends reading early.
var errEnough = errors.New("enough")

// Records implements records. An error is of the connection, and the last.
func (r *stream) Records(from uint64) iter.Seq2[blocks.Entry, error] {
	return func(yield func(blocks.Entry, error) bool) {
		ctx, cancel := context.WithTimeout(context.Background(), liveTimeout)
		defer cancel()
		c, err := r.from.dial(ctx)
		if err == nil {
			defer c.Close()
			err = c.Events(ctx, client.EventsQuery{From: event.Seq(from)}, func(s client.Stored) error {
				if !yield(blocks.Entry{StreamSeq: uint64(s.Record.Seq), Time: s.Record.Time, Data: s.Bytes, File: r.from.address}, nil) {
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
