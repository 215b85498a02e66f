package journal

import (
	"context"
	"time"

	"supd/journal/event"
)

// Stats are the journal's sizes, for people.
type Stats struct {
	RunLogUsed int64     // bytes
	RunLogSize int64     // bytes
	First      event.Seq // oldest record in JOURNAL; 0 if not known
	Bytes      int64     // of JOURNAL
}

// statsWait bounds how long Stats asks JOURNAL, whose disk may hang.
const statsWait = 200 * time.Millisecond

// Stats asks the run log and, if it answers in time, JOURNAL.
func (j *Journal) Stats() Stats {
	var s Stats
	if j.log != nil {
		u := j.log.use()
		s.RunLogUsed, s.RunLogSize = u.used, u.size
	}
	j.mu.Lock()
	stream := j.stream
	j.mu.Unlock()
	if stream == nil {
		return s
	}
	ctx, cancel := context.WithTimeout(context.Background(), statsWait)
	defer cancel()
	info, err := stream.stream.Info(ctx)
	if err != nil {
		return s
	}
	s.Bytes = int64(info.State.Bytes)
	if m, err := stream.stream.GetMsg(ctx, info.State.FirstSeq); err == nil {
		if e, err := event.Decode(m.Data); err == nil {
			s.First = e.Record.Seq
		}
	}
	return s
}
