package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"supd/cmd/internal/config"
	"supd/journal/control"
	"supd/journal/event"
)

// network is the listener of the engine, which [listen] asks for. It is safe
// for concurrent use.
type network struct {
	bridge *control.Bridge
	log    *slog.Logger

	mu       sync.Mutex // guards what follows
	settings config.Listen
	listener net.Listener
	err      error       // why there is none
	retry    *time.Timer // to try again
}

// networkRetry is how often an address is tried that could not be had: it may
// come with a network interface that is not up yet.
const networkRetry = time.Second

// bind opens an address; nil where none is asked for.
func bind(l config.Listen) (net.Listener, error) {
	if l.Bind == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", l.Bind)
	if err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			err = fmt.Errorf("cannot listen on %s: %w", l.Address, errno)
		}
		return nil, err
	}
	return listener, nil
}

// bindAgain opens an address that is not the one already open.
func (n *network) bindAgain(l config.Listen) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listener != nil && n.settings.Bind == l.Bind {
		return nil, nil
	}
	listener, err := bind(l)
	if n.listener != nil && errors.Is(err, syscall.EADDRINUSE) && port(n.settings) == port(l) {
		return nil, nil // taken by ourselves: 127.0.0.1 and all addresses share a port
	}
	return listener, err
}

func port(l config.Listen) string {
	_, port, _ := net.SplitHostPort(l.Bind)
	return port
}

// use listens as the settings say, with a listener already bound, if there is
// one. It never fails: what cannot be had is tried again. Who may connect is
// the bridge's business.
func (n *network) use(l config.Listen, bound net.Listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	same := n.settings.Bind == l.Bind
	n.settings = l
	if same && n.listener != nil {
		if bound != nil {
			bound.Close()
		}
		return
	}
	n.closeLocked()
	if bound != nil {
		n.serveLocked(bound)
		return
	}
	n.openLocked()
}

func (n *network) openLocked() {
	listener, err := bind(n.settings)
	switch {
	case err != nil:
		if n.err == nil {
			n.log.Error("the network listener is not open; trying again", "error", err)
		}
		n.err = err
		n.retry = time.AfterFunc(networkRetry, n.again)
	case listener != nil:
		n.serveLocked(listener)
	}
}

func (n *network) again() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.retry != nil && n.listener == nil {
		n.openLocked()
	}
}

func (n *network) serveLocked(l net.Listener) {
	n.listener, n.err, n.retry = l, nil, nil
	n.log.Info("listening", "address", n.settings.Address)
	go func() {
		if err := n.bridge.ServeNetwork(l); err != nil {
			n.log.Error("the network listener is closed", "error", err)
		}
	}()
}

func (n *network) closeLocked() {
	if n.listener != nil {
		n.listener.Close()
	}
	if n.retry != nil {
		n.retry.Stop()
	}
	n.listener, n.err, n.retry = nil, nil, nil
}

// close ends listening; connections are the bridge's.
func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settings = config.Listen{}
	n.closeLocked()
}

// info is what supctl info shows; nil where no listener is asked for.
func (n *network) info() *event.InfoListen {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.settings.Address == "":
		return nil
	case n.err != nil:
		return &event.InfoListen{Address: n.settings.Address, Health: n.err.Error()}
	case n.listener == nil:
		return &event.InfoListen{Address: n.settings.Address, Health: "off: its name could not be resolved when the configuration was applied"}
	}
	return &event.InfoListen{Address: n.settings.Address, Health: "ok"}
}

// networkAccess is what the settings ask of those who connect. An error lets
// nobody in: what was checked when it was read cannot have become wrong.
func networkAccess(l config.Listen) (control.Network, error) {
	if l.Address == "" {
		return control.Network{}, nil
	}
	keys := map[string]control.Role{}
	for _, k := range l.Keys {
		keys[k.Key] = control.RoleRead
		if k.Role == config.RoleCommand {
			keys[k.Key] = control.RoleCommand
		}
	}
	return control.NewNetwork(keys, []byte(l.Cert), []byte(l.Key), []byte(l.CA))
}

// tryListen fails where a person can see it. An address that this machine
// does not have yet is no failure: it may come.
func tryListen(l config.Listen) error {
	listener, err := bind(l)
	if listener != nil {
		return listener.Close()
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil
	}
	return err
}
