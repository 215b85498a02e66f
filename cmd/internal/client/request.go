package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"supd/journal/control/wire"
	"supd/journal/event"
)

// Rejected is a command that supd did not accept.
type Rejected struct{ Reply event.CommandReply }

// Error is the detail, which is a sentence for people; the reason is a word
// for programs and stands in only where there is no detail.
func (e *Rejected) Error() string {
	if e.Reply.Detail == "" {
		return e.Reply.Reason
	}
	return e.Reply.Detail
}

// Command sends a command and waits for its end, or only for its acceptance
// if req.NoWait. accepted, which may be nil, is called once when supd has
// taken it. The same id is sent again, through deaths of the engine, until
// ctx ends; then the error is ErrTimeout and the command goes on. A command
// that was not accepted gives *Rejected, or ErrBusy.
func (c *Client) Command(ctx context.Context, req event.CommandRequest, accepted func(event.CommandReply)) (event.CommandReply, error) {
	data, err := event.Marshal(req)
	if err != nil {
		return event.CommandReply{}, fmt.Errorf("cannot write the command: %w", err)
	}
	if len(data) > event.MaxRequestSize {
		return event.CommandReply{}, fmt.Errorf("cannot send the command: %d bytes are more than %d: name fewer services", len(data), event.MaxRequestSize)
	}
	subject := event.CommandSubject(c.Node(), c.Actor(), commandTarget(req))
	k, err := c.call(subject, data, resendSilent)
	if err != nil {
		return event.CommandReply{}, err
	}
	defer k.close()
	k.send()
	taken := false
	for {
		a, err := k.next(ctx)
		if err != nil {
			if taken && req.Verb == event.VerbShutdown && errors.Is(err, ErrUnreachable) {
				return event.CommandReply{Status: event.ReplyEnded, Command: req.ID, Outcome: event.Done, Durable: true}, nil
			}
			return event.CommandReply{}, err
		}
		var reply event.CommandReply
		if err := json.Unmarshal(a.body, &reply); err != nil {
			return event.CommandReply{}, fmt.Errorf("cannot read the reply to command %s: %w", req.ID, err)
		}
		switch {
		case reply.Status == event.ReplyEnded, reply.Status == event.ReplyAccepted && req.NoWait:
			if accepted != nil && !taken {
				accepted(reply)
			}
			return reply, nil
		case reply.Status == event.ReplyAccepted && !taken:
			taken, k.silent = true, resendAccepted
			if req.Verb == event.VerbShutdown {
				k.c.expectEnd()
			}
			if accepted != nil {
				accepted(reply)
			}
		case taken: // an answer to a repetition: the command stands
		case reply.Status == event.ReplyBusy:
			return reply, &Error{Op: "send the command", Kind: ErrBusy, Cause: ErrBusy, Hint: "try again; the same --id never runs twice"}
		case reply.Status == event.ReplyRejected:
			return reply, &Rejected{reply}
		}
	}
}

// commandTarget is the service in a command's subject: the one it names, if
// it names one.
func commandTarget(req event.CommandRequest) string {
	if len(req.Patterns) == 1 && event.CheckServiceName(req.Patterns[0]) == nil {
		return req.Patterns[0]
	}
	return ""
}

// expectEnd makes a vanished socket count at once: after a shutdown it is the
// proof that supd has ended.
func (c *Client) expectEnd() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = 0
}

// WaitGone returns when nobody holds the socket any more: after a shutdown has
// ended, that is when the next supd may start.
func (c *Client) WaitGone(ctx context.Context) error {
	for {
		conn, err := net.DialTimeout("unix", c.socket, dialTimeout)
		if err != nil && gone(err) {
			return nil
		}
		if err == nil {
			conn.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(goneEvery):
		}
	}
}

// goneEvery is how often WaitGone looks.
const goneEvery = 5 * time.Millisecond

// Ask sends a question and decodes the answer into out, which may be nil. An
// answer that there is none is an *AskError; busy is waited out until ctx
// ends.
func (c *Client) Ask(ctx context.Context, verb string, req, out any) error {
	return c.ask(ctx, verb, req, out, resendSilent)
}

func (c *Client) ask(ctx context.Context, verb string, req, out any, silent time.Duration) error {
	var data []byte
	if req != nil {
		var err error
		if data, err = event.Marshal(req); err != nil {
			return fmt.Errorf("cannot write the question: %w", err)
		}
	}
	k, err := c.call(event.AskSubject(c.Node(), c.Actor(), verb), data, silent)
	if err != nil {
		return err
	}
	defer k.close()
	for {
		k.send()
		a, err := k.next(ctx)
		if err != nil {
			return err
		}
		if a.header.Get(wire.HeaderError) != "" {
			failure := &AskError{}
			if err := json.Unmarshal(a.body, &failure.AskError); err != nil {
				return fmt.Errorf("cannot read the answer to %s: %w", verb, err)
			}
			if failure.Code == "busy" {
				select {
				case <-ctx.Done():
					return &Error{Op: "ask for " + verb, Kind: ErrBusy, Cause: failure}
				case <-time.After(4 * retryPause):
				}
				continue
			}
			return failure
		}
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(a.body, out); err != nil {
			return fmt.Errorf("cannot read the answer to %s: %w", verb, err)
		}
		return nil
	}
}

// logsWait is how long one question for output waits for more of it.
const logsWait = 20 * time.Second

// Logs calls fn for each line of a service's output, oldest first. With
// follow it goes on, through deaths of the engine, until ctx ends, which then
// is no error; without, it ends with what there is.
func (c *Client) Logs(ctx context.Context, req event.LogsRequest, follow bool, fn func(event.LogLine) error) error {
	wait := req.Wait
	if wait == 0 {
		wait = event.Duration(logsWait)
	}
	for {
		var reply event.LogsReply
		err := c.ask(ctx, event.AskLogs, req, &reply, time.Duration(req.Wait)+resendSilent)
		if err != nil {
			if follow && ctx.Err() != nil {
				return nil
			}
			return err
		}
		for _, line := range reply.Lines {
			if err := fn(line); err != nil {
				return err
			}
		}
		if reply.End && !follow {
			return nil
		}
		req = event.LogsRequest{Service: req.Service, Stream: req.Stream, Instance: req.Instance, Cursor: reply.Cursor}
		if follow {
			req.Wait = wait
		}
	}
}
