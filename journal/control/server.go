package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"supd/journal/control/wire"
	"supd/journal/event"
)

// Bounds of questions. Answers come from memory, so a few workers do; those
// that may wait for a disk have room of their own.
const (
	askWorkers = 8
	maxAsks    = 128 // being answered or waiting for a worker
	maxLogs    = 64  // waiting for output, or for a disk that has a configuration
)

// Handler is the engine, as clients meet it. Its methods may be called
// concurrently.
type Handler interface {
	// Command takes a checked command. It should not block; while it does,
	// the inbox fills and then clients are told busy. It may call reply at
	// once or later, from any goroutine and more than once: accepted, then
	// ended. A client that has gone hears nothing.
	Command(r Request, reply func(event.CommandReply))
	// Ask answers a question; ctx ends with the server. The answer is sent as
	// JSON. An *AskFailure is sent as such, any other error as code "failed".
	Ask(ctx context.Context, verb string, r Request) (any, error)
	// Denied tells that an actor tried what it may not.
	Denied(actor, subject string)
	// Rejected tells of a request that never became a command; id is nil
	// where it could not be read.
	Rejected(actor, reason, detail string, id *string)
}

// AskFailure is a question that has no answer.
type AskFailure struct{ event.AskError }

// Error reads "code: detail".
func (e *AskFailure) Error() string { return e.Code + ": " + e.Detail }

// Codes of failed questions.
const (
	AskUnknownService = "unknown-service"
	AskUnknownCommand = "unknown-command"
	AskMalformed      = "malformed"
	AskBusy           = "busy"
	AskFailed         = "failed"
)

// Fail makes an AskFailure with one of the codes above.
func Fail(code, format string, args ...any) error {
	return &AskFailure{event.AskError{Code: code, Detail: fmt.Sprintf(format, args...)}}
}

// ServerConfig is what a server needs.
type ServerConfig struct {
	Node    string
	Conn    *nats.Conn // the engine's own connection, with Authentication.InternalToken
	Bridge  *Bridge    // knows who listens at which reply subject
	Handler Handler
	Inbox   int          // commands not yet taken by the handler; beyond it the answer is busy
	Log     *slog.Logger // nil: silent
}

// Server takes requests from the embedded server to the handler.
type Server struct {
	cfg    ServerConfig
	inbox  chan *nats.Msg
	subs   []*nats.Subscription
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	run    chan struct{} // one token for each ask at work
	asks   slots
	logs   slots
	stats  ServerStats

	sending sync.Mutex // keeps the parts of an answer together
}

// ServerStats counts since the server was made.
type ServerStats struct {
	Commands atomic.Int64 // handed to the handler
	Asks     atomic.Int64 // handed to the handler
	Busy     atomic.Int64 // told to come back
	Rejected atomic.Int64 // malformed or too large
	Dropped  atomic.Int64 // requests and answers whose reply subject is no inbox of a live connection of the actor
}

// NewServer subscribes and starts to serve.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, inbox: make(chan *nats.Msg, max(cfg.Inbox, 1)), ctx: ctx, cancel: cancel,
		run: make(chan struct{}, askWorkers), asks: newSlots(maxAsks), logs: newSlots(maxLogs),
	}
	s.wg.Go(s.commands)
	for subject, take := range map[string]nats.MsgHandler{
		event.CommandSubjects(cfg.Node, "*"): s.takeCommand,
		event.AskSubjects(cfg.Node, "*"):     s.takeAsk,
	} {
		sub, err := cfg.Conn.Subscribe(subject, take)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("cannot subscribe to %s: %w", subject, err)
		}
		s.subs = append(s.subs, sub)
	}
	if err := cfg.Conn.Flush(); err != nil {
		s.Close()
		return nil, fmt.Errorf("cannot subscribe to requests: %w", err)
	}
	return s, nil
}

// Stats are the server's counters.
func (s *Server) Stats() *ServerStats { return &s.stats }

// Close stops taking requests, ends the context of questions and waits for
// them. Replies of commands may still be sent until the connection is closed.
func (s *Server) Close() {
	for _, sub := range s.subs {
		sub.Unsubscribe()
	}
	s.cancel()
	s.wg.Wait()
}

// request finds out who sent a message. A request that wants its answer on a
// subject that is not its own is dropped: nobody may have the engine publish
// for him (P10).
func (s *Server) request(m *nats.Msg) (r Request, tail string, ok bool) {
	tokens := strings.Split(m.Subject, ".") // sup.<node>.<cmd|ask>.<actor>.<tail>
	if len(tokens) != 5 {
		s.stats.Dropped.Add(1)
		return Request{}, "", false
	}
	actor := tokens[3]
	peer, ok := s.cfg.Bridge.client(actor, m.Reply)
	if !ok {
		s.stats.Dropped.Add(1)
		return Request{}, "", false
	}
	return Request{Actor: actor, Client: peer.process(), Remote: peer.Remote, Data: m.Data}, tokens[4], true
}

// takeCommand runs in the subscription's goroutine: it only queues.
func (s *Server) takeCommand(m *nats.Msg) {
	select {
	case s.inbox <- m:
	default:
		if r, _, ok := s.request(m); ok {
			s.stats.Busy.Add(1)
			s.reply(r.Actor, m.Reply, event.CommandReply{Status: event.ReplyBusy})
		}
	}
}

func (s *Server) commands() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case m := <-s.inbox:
			s.command(m)
		}
	}
}

func (s *Server) command(m *nats.Msg) {
	r, _, ok := s.request(m)
	if !ok {
		return
	}
	reply := func(c event.CommandReply) { s.reply(r.Actor, m.Reply, c) }
	if len(m.Data) > event.MaxRequestSize {
		s.reject(r, reply, event.RejectTooLarge, fmt.Sprintf("%d bytes are more than %d", len(m.Data), event.MaxRequestSize), nil)
		return
	}
	command, id, err := DecodeCommand(m.Data)
	if err != nil {
		s.reject(r, reply, event.RejectMalformed, err.Error(), id)
		return
	}
	r.Command = command
	s.stats.Commands.Add(1)
	s.cfg.Handler.Command(r, reply)
}

func (s *Server) reject(r Request, reply func(event.CommandReply), reason, detail string, id *string) {
	s.stats.Rejected.Add(1)
	detail = printable(detail, event.MaxDetail)
	answer := event.CommandReply{Status: event.ReplyRejected, Reason: reason, Detail: detail}
	if id != nil {
		answer.Command = *id
	}
	s.cfg.Handler.Rejected(r.Actor, reason, detail, id)
	reply(answer)
}

// takeAsk admits a question or says busy at once.
func (s *Server) takeAsk(m *nats.Msg) {
	r, verb, ok := s.request(m)
	if !ok {
		return
	}
	if len(m.Data) > event.MaxRequestSize {
		s.fail(r.Actor, m.Reply, Fail(AskMalformed, "%d bytes are more than %d", len(m.Data), event.MaxRequestSize))
		return
	}
	waits := verb == event.AskLogs || verb == event.AskPlan
	room := &s.asks
	if waits {
		room = &s.logs
	}
	if !room.take(r.Actor) {
		s.stats.Busy.Add(1)
		s.fail(r.Actor, m.Reply, Fail(AskBusy, "too many questions at once: try again"))
		return
	}
	s.wg.Go(func() {
		defer room.give(r.Actor)
		if !waits {
			select {
			case s.run <- struct{}{}:
				defer func() { <-s.run }()
			case <-s.ctx.Done():
				return
			}
		}
		s.ask(m, verb, r)
	})
}

func (s *Server) ask(m *nats.Msg, verb string, r Request) {
	s.stats.Asks.Add(1)
	answer, err := s.cfg.Handler.Ask(s.ctx, verb, r)
	if err != nil {
		s.fail(r.Actor, m.Reply, err)
		return
	}
	body, err := event.Marshal(answer)
	if err == nil && len(body) > wire.PartSize*wire.MaxParts {
		err = fmt.Errorf("the answer of %d bytes is too long: ask for less", len(body))
	}
	if err != nil {
		s.fail(r.Actor, m.Reply, err)
		return
	}
	s.send(r.Actor, m.Reply, "", body)
}

func (s *Server) fail(actor, to string, err error) {
	var failure *AskFailure
	if !errors.As(err, &failure) {
		failure = &AskFailure{event.AskError{Code: AskFailed, Detail: err.Error()}}
	}
	failure = &AskFailure{event.AskError{Code: failure.Code, Detail: printable(failure.Detail, 4<<10)}}
	body, err := event.Marshal(failure.AskError)
	if err != nil {
		s.cfg.Log.Error("cannot write an answer", "err", err)
		return
	}
	s.send(actor, to, failure.Code, body)
}

func (s *Server) reply(actor, to string, c event.CommandReply) {
	body, err := event.Marshal(c)
	if err != nil {
		s.cfg.Log.Error("cannot write a reply", "err", err)
		return
	}
	s.send(actor, to, "", body)
}

// send publishes an answer, cut where it is long, if its reader is there.
func (s *Server) send(actor, to, code string, body []byte) {
	if _, ok := s.cfg.Bridge.client(actor, to); !ok {
		s.stats.Dropped.Add(1)
		return
	}
	parts := wire.Cut(body)
	s.sending.Lock()
	defer s.sending.Unlock()
	for i, part := range parts {
		m := nats.NewMsg(to)
		m.Data = part
		if len(parts) > 1 {
			m.Header.Set(wire.HeaderPart, wire.PartHeader(i+1, len(parts)))
		}
		if code != "" {
			m.Header.Set(wire.HeaderError, code)
		}
		if err := s.cfg.Conn.PublishMsg(m); err != nil {
			s.stats.Dropped.Add(1)
			s.cfg.Log.Debug("cannot send an answer", "actor", actor, "err", err)
			return
		}
	}
}

// slots counts what is under way, so that neither all actors together nor one
// of them take more than their room: one actor has at most three quarters.
type slots struct {
	mu    sync.Mutex
	limit int
	total int
	taken map[string]int
}

func newSlots(limit int) slots { return slots{limit: limit, taken: map[string]int{}} }

func (s *slots) take(actor string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= s.limit || s.taken[actor] >= s.limit*3/4 {
		return false
	}
	s.total++
	s.taken[actor]++
	return true
}

func (s *slots) give(actor string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.taken[actor]--; s.taken[actor] == 0 {
		delete(s.taken, actor)
	}
}
