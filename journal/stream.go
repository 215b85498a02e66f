package journal

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"supd/journal/event"
)

// Tail is the end of a stream: its newest record and where the stream has it.
type Tail struct {
	Position uint64 // the stream's own sequence; 0 if the stream is empty
	Link     Link   // Origin if the stream is empty
}

// Stream is what the publisher needs of JOURNAL. One goroutine uses it.
//
// An error of Publish says nothing about what was stored: all, a prefix or
// none of the batch, now or later. Only Last tells (R6).
type Stream interface {
	// Last returns the end of what is stored.
	Last(ctx context.Context) (Tail, error)
	// Publish stores the batch directly behind after and returns the new end
	// once all of it is durable. It stores nothing if the stream ends elsewhere.
	Publish(ctx context.Context, after Tail, batch []event.Encoded) (Tail, error)
	// Heal makes a failed store usable again; it does nothing to a healthy
	// one. It returns what was wrong, "" if nothing was found.
	Heal(ctx context.Context) (why string, err error)
}

// plainMax is up to how many records are published one by one: each costs a
// sync of about 0.2 ms, an atomic batch costs about 3 ms whatever its size.
const plainMax = 13

// createTimeout bounds the making of the stream, and so what a shutdown that
// comes in between has to wait.
const createTimeout = 2 * time.Second

// jetStream is Stream on the embedded server.
type jetStream struct {
	s      *natsServer
	js     jetstream.JetStream
	stream jetstream.Stream
	node   string
}

// openStream creates JOURNAL, or checks that the one that is there is ours and
// adjusts its limits.
func openStream(ctx context.Context, s *natsServer, cfg *Config) (*jetStream, error) {
	if err := s.enable(ctx); err != nil {
		return nil, err
	}
	js, err := jetstream.New(s.nc)
	if err != nil {
		return nil, fmt.Errorf("cannot open journal: %w", err)
	}
	want := streamConfig(cfg)
	st, err := js.Stream(ctx, event.Stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		// Blocks of a stream whose description was lost are adopted here; what
		// is in them is checked when the tail is compared. A disk that is full is
		// not tried with it again and again.
		err = s.guard.do(ctx, func() error {
			if err := probeDisk(s.opts.StoreDir); err != nil {
				return err
			}
			// Once asked for it is waited for: a server that is shut down while it
			// makes a store leaves the store's goroutines behind.
			ctx, cancel := context.WithTimeout(context.Background(), createTimeout)
			defer cancel()
			made, err := js.CreateStream(ctx, want)
			st = made
			return err
		})
		if err == nil {
			err = s.syncTree(ctx)
		}
	case err == nil:
		st, err = adjustStream(ctx, s, js, st, want)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open stream %s: %w", event.Stream, err)
	}
	s.quiet()
	return &jetStream{s: s, js: js, stream: st, node: cfg.Node}, nil
}

func streamConfig(cfg *Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: event.Stream, Description: "journal of supd", Subjects: []string{event.RecordSubjects(cfg.Node)},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: 1,
		Discard: jetstream.DiscardOld, MaxMsgs: cfg.MaxRecords, MaxBytes: cfg.MaxBytes,
		DenyDelete: true, DenyPurge: true, AllowAtomicPublish: true, AllowDirect: true,
		// Every message in this window is read again at each start. The
		// expected last sequence is what makes our publishes safe to repeat.
		Duplicates: time.Second, MaxConsumers: consumerLimit(cfg.MaxConsumers),
	}
}

// consumerLimit writes "no limit" as the server does.
func consumerLimit(n int) int {
	if n <= 0 {
		return -1
	}
	return n
}

// adjustStream refuses a stream that does not keep our promises and updates
// limits and subjects of one that does.
func adjustStream(ctx context.Context, s *natsServer, js jetstream.JetStream, st jetstream.Stream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	info, err := st.Info(ctx)
	if err != nil {
		return nil, err
	}
	have := info.Config
	if wrong := foreign(have); wrong != "" {
		return nil, fmt.Errorf("it exists and is not supd's (%s); set the folder journal aside", wrong)
	}
	limits := have
	limits.Subjects = want.Subjects
	if ok, err := mayShrink(ctx, js, info, want); err != nil {
		return nil, err
	} else if ok {
		limits.MaxMsgs, limits.MaxBytes = want.MaxMsgs, want.MaxBytes
	} else {
		s.log.Warn("journal limits stay as they are until a newer base is within the lower ones",
			"max_records", have.MaxMsgs, "max_bytes", have.MaxBytes)
	}
	same := limits.MaxMsgs == have.MaxMsgs && limits.MaxBytes == have.MaxBytes &&
		strings.Join(limits.Subjects, " ") == strings.Join(have.Subjects, " ")
	if same {
		return st, nil
	}
	if st, err = js.UpdateStream(ctx, limits); err != nil {
		return nil, err
	}
	return st, s.syncTree(ctx)
}

// foreign names the property by which a stream cannot be our journal, or "".
func foreign(c jetstream.StreamConfig) string {
	switch {
	case c.Storage != jetstream.FileStorage:
		return "it is not stored in files"
	case c.Retention != jetstream.LimitsPolicy || c.Discard != jetstream.DiscardOld:
		return "its retention differs"
	case !c.DenyDelete || !c.DenyPurge:
		return "records in it can be deleted"
	case !c.AllowAtomicPublish || !c.AllowDirect:
		return "it takes no atomic batches or direct reads"
	case c.MaxAge != 0 || c.MaxMsgsPerSubject > 0 || c.MaxMsgSize > 0 && c.MaxMsgSize < maxPayload:
		return "it has limits that lose records"
	case c.Sealed || c.Mirror != nil || len(c.Sources) > 0:
		return "it is sealed or fed by other streams"
	case c.PersistMode != jetstream.DefaultPersistMode:
		return "it acknowledges before it writes"
	}
	return ""
}

// mayShrink tells whether the wanted limits are safe. Lower limits discard the
// head at once, so a base must be well within them or nothing could be
// rebuilt afterwards (R9).
func mayShrink(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo, want jetstream.StreamConfig) (bool, error) {
	have := info.Config
	if want.MaxMsgs >= have.MaxMsgs && want.MaxBytes >= have.MaxBytes || info.State.Msgs == 0 {
		return true, nil
	}
	since, err := sinceBase(ctx, js, info)
	if err != nil {
		return false, err
	}
	if int64(info.State.Msgs) <= want.MaxMsgs && int64(info.State.Bytes) <= want.MaxBytes {
		return true, nil
	}
	return since.records <= want.MaxMsgs/2 && since.bytes <= want.MaxBytes/2, nil
}

// Last implements Stream.
func (j *jetStream) Last(ctx context.Context) (Tail, error) {
	info, err := j.stream.Info(ctx)
	if err != nil {
		return Tail{}, fmt.Errorf("cannot read end of journal: %w", err)
	}
	if info.State.LastSeq == 0 {
		return Tail{Link: Origin()}, nil
	}
	// "Not found" here is no empty stream: it is a damaged block or a
	// process without descriptors.
	msg, err := j.stream.GetMsg(ctx, info.State.LastSeq)
	if err != nil {
		return Tail{}, fmt.Errorf("cannot read last record of journal (position %d): %w", info.State.LastSeq, err)
	}
	e, err := event.Decode(msg.Data)
	if err != nil && !errors.Is(err, event.ErrUnknownKind) {
		return Tail{}, fmt.Errorf("cannot read last record of journal (position %d): %w", info.State.LastSeq, err)
	}
	return Tail{Position: info.State.LastSeq, Link: LinkOf(e)}, nil
}

// Heal implements Stream.
func (j *jetStream) Heal(ctx context.Context) (string, error) { return j.s.heal(ctx) }

// Publish implements Stream.
func (j *jetStream) Publish(ctx context.Context, after Tail, batch []event.Encoded) (Tail, error) {
	tail := after
	var err error
	if len(batch) > plainMax {
		tail, err = j.publishAtomic(ctx, after, batch)
	} else {
		for i := 0; i < len(batch) && err == nil; i++ {
			tail, err = j.publishOne(ctx, tail, batch[i])
		}
	}
	if err != nil {
		return after, fmt.Errorf("cannot publish: %w", err)
	}
	return tail, nil
}

// publishOne stores one record and waits for it. The next is sent only then:
// the server checks numbers, not identity, and of several under way the second
// would be accepted behind anything that took the place of the first. Sending
// ahead would gain nothing, since each has its own sync.
func (j *jetStream) publishOne(ctx context.Context, after Tail, e event.Encoded) (Tail, error) {
	m := j.message(e)
	m.Header.Set(nats.ExpectedLastSeqHdr, strconv.FormatUint(after.Position, 10))
	if err := j.request(ctx, m, after.Position+1); err != nil {
		return after, err
	}
	return Tail{Position: after.Position + 1, Link: LinkOf(e)}, nil
}

// publishAtomic stores the records as one batch that is synced once. Only the
// last message asks for a reply: it reports what went wrong with any of them.
func (j *jetStream) publishAtomic(ctx context.Context, after Tail, batch []event.Encoded) (Tail, error) {
	id := rand.Text()
	end := Tail{Position: after.Position + uint64(len(batch)), Link: LinkOf(batch[len(batch)-1])}
	for i, e := range batch {
		m := j.message(e)
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i == 0 {
			m.Header.Set(nats.ExpectedLastSeqHdr, strconv.FormatUint(after.Position, 10))
		}
		if i == len(batch)-1 {
			m.Header.Set("Nats-Batch-Commit", "1")
			return end, j.request(ctx, m, end.Position)
		}
		if err := j.s.nc.PublishMsg(m); err != nil {
			return after, err
		}
	}
	return end, nil
}

func (j *jetStream) message(e event.Encoded) *nats.Msg {
	return &nats.Msg{Subject: event.RecordSubject(j.node, e.Record.Subject, e.Record.Kind), Data: e.Bytes, Header: nats.Header{}}
}

// request publishes m and waits until it is acknowledged at this position.
func (j *jetStream) request(ctx context.Context, m *nats.Msg, position uint64) error {
	reply, err := j.s.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return err
	}
	var ack struct {
		Sequence uint64              `json:"seq"`
		Error    *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return fmt.Errorf("malformed acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return ack.Error
	}
	if ack.Sequence != position {
		return fmt.Errorf("acknowledged at position %d, expected %d", ack.Sequence, position)
	}
	return nil
}
