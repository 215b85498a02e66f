package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"supd/journal/event"
)

// maxHeader bounds what an answer over HTTP may cost (P9): the body is not read.
const maxHeader = 64 << 10

// check is one kind of active probe. It returns nil if the service is well. It
// must end when ctx does.
type check func(ctx context.Context) error

// dialer is shared by all probes. It keeps no connections: each probe asks anew.
var dialer = net.Dialer{KeepAlive: -1}

// tcp is well when something accepts a connection.
func tcp(address string) check {
	return func(ctx context.Context) error {
		c, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("cannot connect to %s: %w", address, plain(ctx, err))
		}
		return c.Close()
	}
}

// client asks over HTTP. Redirects are answers, not orders: a service could send
// the prober anywhere. The environment names no proxy for it, for a probe that
// asks a proxy says nothing about the service.
var client = http.Client{
	Transport: &http.Transport{
		Proxy: nil, DialContext: dialer.DialContext, DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: maxHeader, ForceAttemptHTTP2: false,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// web is well when a GET is answered with a status from 200 to 399.
func web(url string) check {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("cannot ask: %w", err)
		}
		req.Header.Set("User-Agent", "supd-probe")
		answer, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("cannot get %s: %w", url, plain(ctx, err))
		}
		// The body is not read: closing gives the connection up, whatever is in it.
		_ = answer.Body.Close()
		if answer.StatusCode < 200 || answer.StatusCode > 399 {
			return fmt.Errorf("%s answered %d", url, answer.StatusCode)
		}
		return nil
	}
}

// program is well when the command ends with code 0.
func (p *Prober) program(t *Target, l *event.LaunchExec) check {
	return func(ctx context.Context) error {
		r, err := p.run(ctx, t, l)
		switch {
		case err != nil:
			return err
		case r.Error != "":
			return errors.New(r.Error)
		case r.Signal != 0:
			return fmt.Errorf("ended by %s%s", event.SignalName(r.Signal), said(r.Tail))
		case r.Code != 0:
			return fmt.Errorf("ended with code %d%s", r.Code, said(r.Tail))
		}
		return nil
	}
}

// said appends the last words of a program.
func said(tail []byte) string {
	if s := clean(string(tail), maxError/2); s != "" {
		return ": " + s
	}
	return ""
}

// plain takes the noise out of an error of the net packages: what was asked is
// said by the caller, and a timeout by how long was waited.
func plain(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return errTimeout
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

var errTimeout = errors.New("no answer in time")

// maxError bounds the text of a failure that becomes part of a record.
const maxError = 512

// text makes an error fit for a record.
func text(err error) string { return clean(err.Error(), maxError) }

// attempt makes one check within its time and its turn.
func (p *Prober) attempt(ctx context.Context, limit time.Duration, c check) error {
	select {
	case p.turns <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.turns }()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := c(ctx)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && !strings.Contains(err.Error(), errTimeout.Error()) {
		err = fmt.Errorf("%w (%s): %w", errTimeout, limit, err)
	}
	return err
}
