package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"supd/journal/event"
)

// Bounds of the consumers that clients may have on the journal (P9).
const (
	maxConsumersPerActor = 32
	maxConsumerName      = 64
	maxConsumerRequest   = 64 << 10
	maxConsumerFilters   = 64
	maxConsumerIdle      = 5 * time.Minute
	maxConsumerWaiting   = 64
	maxConsumerAcks      = 1000
)

// MaxConsumers is the number of consumers the stream should allow: room for
// eight actors with all they may have.
const MaxConsumers = 8 * maxConsumersPerActor

// consumerConfig is the part of a consumer's configuration that a client may
// choose. What is not here is not passed on; what would change the consumer's
// nature is in refusedConfig.
type consumerConfig struct {
	Name              string          `json:"name"`
	DeliverPolicy     json.RawMessage `json:"deliver_policy,omitempty"`
	OptStartSeq       uint64          `json:"opt_start_seq,omitempty"`
	OptStartTime      *time.Time      `json:"opt_start_time,omitempty"`
	AckPolicy         json.RawMessage `json:"ack_policy,omitempty"`
	AckWait           time.Duration   `json:"ack_wait,omitempty"`
	MaxDeliver        int             `json:"max_deliver,omitempty"`
	FilterSubject     string          `json:"filter_subject,omitempty"`
	FilterSubjects    []string        `json:"filter_subjects,omitempty"`
	ReplayPolicy      json.RawMessage `json:"replay_policy,omitempty"`
	MaxWaiting        int             `json:"max_waiting,omitempty"`
	MaxAckPending     int             `json:"max_ack_pending,omitempty"`
	HeadersOnly       bool            `json:"headers_only,omitempty"`
	InactiveThreshold time.Duration   `json:"inactive_threshold"`
	MemoryStorage     bool            `json:"mem_storage"`
	Replicas          int             `json:"num_replicas"`
}

// refusedConfig makes a consumer outlive its reader or deliver unasked, to a
// subject of the client's choice and with the server's rights.
type refusedConfig struct {
	Durable        string `json:"durable_name"`
	DeliverSubject string `json:"deliver_subject"`
	DeliverGroup   string `json:"deliver_group"`
	Direct         bool   `json:"direct"`
	Sourcing       bool   `json:"sourcing"`
}

type consumerRequest struct {
	Stream string         `json:"stream_name"`
	Config consumerConfig `json:"config"`
	Action string         `json:"action,omitempty"`
}

// rewriteConsumer reads a client's request to create the consumer name and
// writes it anew: ephemeral, pulled, in memory, bounded. Because the server
// reads only what is written here, two readers of the same JSON cannot
// disagree about it.
func rewriteConsumer(name string, body []byte) ([]byte, error) {
	var req consumerRequest
	var refused struct {
		Config refusedConfig `json:"config"`
	}
	if err := errors.Join(json.Unmarshal(body, &req), json.Unmarshal(body, &refused)); err != nil {
		return nil, fmt.Errorf("cannot read the consumer's configuration: %w", err)
	}
	if refused.Config != (refusedConfig{}) {
		return nil, errors.New("only ephemeral pull consumers are allowed: no durable name, no deliver subject")
	}
	cfg := &req.Config
	if req.Stream != event.Stream || cfg.Name != "" && cfg.Name != name {
		return nil, errors.New("stream or consumer in the request differ from those in its subject")
	}
	if len(cfg.FilterSubjects) > maxConsumerFilters {
		return nil, fmt.Errorf("more than %d filter subjects", maxConsumerFilters)
	}
	cfg.Name, cfg.MemoryStorage, cfg.Replicas = name, true, 1
	cfg.InactiveThreshold = within(cfg.InactiveThreshold, maxConsumerIdle)
	cfg.MaxWaiting = within(cfg.MaxWaiting, maxConsumerWaiting)
	if ack := bytes.TrimSpace(cfg.AckPolicy); len(ack) > 0 && !bytes.Equal(ack, []byte(`"none"`)) {
		cfg.MaxAckPending = within(cfg.MaxAckPending, maxConsumerAcks)
	} else {
		cfg.MaxAckPending = 0
	}
	return event.Marshal(req)
}

// within keeps a choice that is positive and not above the limit.
func within[T ~int | ~int64](v, limit T) T {
	if v <= 0 || v > limit {
		return limit
	}
	return v
}

// validConsumerName tells whether a name is one plain token.
func validConsumerName(s string) bool {
	if s == "" || len(s) > maxConsumerName {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		word := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !word && r != '_' && r != '-'
	})
}

// consumers remembers whose each consumer is, so that a reader can neither
// drain nor delete another's. The least recently used one of an actor gives
// way when it wants more than it may have; those that the server removed
// because nobody pulled leave the table that way too.
type consumers struct {
	mu    sync.Mutex
	owner map[string]string   // consumer → actor
	names map[string][]string // actor → consumers, least recently used first
}

func newConsumers() *consumers {
	return &consumers{owner: map[string]string{}, names: map[string][]string{}}
}

// claim makes name the actor's. evicted is a consumer to delete for it.
func (c *consumers) claim(actor, name string) (evicted string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if owner, taken := c.owner[name]; taken {
		return "", owner == actor
	}
	if have := c.names[actor]; len(have) >= maxConsumersPerActor {
		evicted = have[0]
		c.removeLocked(actor, evicted)
	}
	c.owner[name] = actor
	c.names[actor] = append(c.names[actor], name)
	return evicted, true
}

// goneConsumer is no valid name of a client's consumer, so none has it.
const goneConsumer = "~gone"

// nobodys tells whether no actor has a consumer of this name.
func (c *consumers) nobodys(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, taken := c.owner[name]
	return !taken
}

// use tells whether a consumer is the actor's, and marks it as used.
func (c *consumers) use(actor, name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owner[name] != actor || actor == "" {
		return false
	}
	have := c.names[actor]
	if i := slices.Index(have, name); i < len(have)-1 {
		have = append(slices.Delete(have, i, i+1), name)
		c.names[actor] = have
	}
	return true
}

// release forgets a consumer of the actor.
func (c *consumers) release(actor, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owner[name] == actor {
		c.removeLocked(actor, name)
	}
}

func (c *consumers) removeLocked(actor, name string) {
	delete(c.owner, name)
	left := slices.DeleteFunc(c.names[actor], func(n string) bool { return n == name })
	if len(left) == 0 {
		delete(c.names, actor)
		return
	}
	c.names[actor] = left
}
