package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector/timeline"
)

func verifyCommand(open opener) *cobra.Command {
	var held, trust string
	cmd := &cobra.Command{
		Use:        "verify",
		SuggestFor: []string{"check", "fsck", "validate"},
		Short:      "Tell whether the journal is whole and unaltered",
		Long: `verify reads every byte of the journal and checks it: the checksums of the
block files, that no number is missing, that each record carries the hash of
the one before it, that the records can be folded, and that each base in the
journal is what the records before it fold to. It names each bad place by file,
byte and record, the first one first. Where a supd is running on the journal,
its live state is compared with the replayed one.

Whoever can write the folder can also rewrite all of it, or cut its end off,
with all hashes right. That shows only against a checkpoint that was held
elsewhere: keep a file of supreplay checkpoint on another machine, or note the
line "last" of this output, and give it to a later verify with --checkpoint.

Exit codes: 0 intact, 1 damaged or altered, 2 wrong usage, 3 intact up to an
end that was being written (usual for a copy of a running supd's folder).`,
		Example: `  supreplay verify
  supreplay verify --from ./copy --checkpoint monday.json --trust monday.key.pub
  supreplay verify --from ./copy --checkpoint 512:9f86d081884c7d65…`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&held, "checkpoint", "", "`FILE` of supreplay checkpoint, or SEQ:HASH of a record: it must be in the journal unaltered")
	cmd.Flags().StringVar(&trust, "trust", "", "public `KEY`, or a file with it, that the checkpoint must be signed with")
	form := outputFlag(cmd, "the result as one object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		asJSON, err := isJSON(*form)
		if err != nil {
			return err
		}
		want, err := readCheckpoint(held, trust)
		if err != nil {
			return err
		}
		src, err := open(cmd)
		if err != nil {
			return err
		}
		res := src.verify(want)
		if err := res.print(cmd.OutOrStdout(), asJSON); err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot write the result: %w", err)}
		}
		switch res.Result {
		case resultTail:
			return &coded{code: exitTail}
		case resultDamaged:
			return &coded{code: exitcode.Failed}
		}
		return nil
	}
	return cmd
}

// Results of verify.
const (
	resultIntact  = "intact"
	resultTail    = "tail incomplete"
	resultDamaged = "damaged"
)

// verdict is what verify found.
type verdict struct {
	Source     string      `json:"source"`
	NodeID     string      `json:"node_id"`
	Result     string      `json:"result"`
	Records    int         `json:"records"`
	First      *checkpoint `json:"first"`
	Last       *checkpoint `json:"last"`
	From       *time.Time  `json:"from"`
	To         *time.Time  `json:"to"`
	Bases      int         `json:"bases"`
	Compared   int         `json:"bases_compared"`
	Checkpoint *checkpoint `json:"checkpoint"`
	Live       *liveCheck  `json:"live"` // null if no supd runs on it
	Findings   []*finding  `json:"findings"`
}

// reporter takes a finding at the record that is being looked at.
type reporter func(g grade, what string, first, last event.Seq, format string, args ...any)

// maxFindings bounds what a journal that is bad everywhere costs in memory.
const maxFindings = 10_000

func (v *verdict) add(f *finding) {
	if v.Result == resultIntact && f.Grade == tail {
		v.Result = resultTail
	}
	if f.Grade == damage {
		v.Result = resultDamaged
	}
	if len(v.Findings) < maxFindings {
		v.Findings = append(v.Findings, f)
	}
}

func (s *source) verify(want *checkpoint) *verdict {
	v := &verdict{Source: s.name, NodeID: s.nodeID, Result: resultIntact, Checkpoint: want, Findings: []*finding{}}
	var met place // of what was read last
	report := func(g grade, what string, first, last event.Seq, format string, args ...any) {
		v.add(&finding{
			Grade: g, What: what, File: s.rel(met.file), Offset: met.offset,
			First: first, Last: last, Detail: fmt.Sprintf(format, args...),
		})
	}
	f := fold{compared: func(base event.Encoded, equal bool) {
		v.Compared++
		if !equal {
			d := base.Record.Data.(event.StateBaseData)
			report(damage, "wrong base", base.Record.Seq+1-event.Seq(d.Parts), base.Record.Seq, "it is not what the records before it fold to")
		}
	}}
	live := s.askLive()
	seen := want.belongs(s, report)
	end := uint64(0)
	for here := range s.history(reading{}) {
		met = placeOf(&here.entry)
		if here.finding != nil {
			v.add(here.finding)
			continue
		}
		v.count(here)
		if here.stray {
			continue
		}
		if want != nil && here.rec.Record.Seq == want.Seq {
			seen = true
			want.compare(here, report)
		}
		end = here.entry.StreamSeq
		v.fold(&f, here, report)
		live.compare(here.rec.Record.Seq, &f, report)
	}
	if !seen {
		report(damage, "missing", want.Seq, want.Seq, "the checkpoint's record is not in the journal: an end was cut off, or a beginning discarded")
	}
	if v.First != nil && v.First.Seq > 1 && f.state == nil && f.lost == 0 {
		report(damage, "no base", v.First.Seq, 0, "the journal begins with record %d and no complete base follows: the state cannot be rebuilt", v.First.Seq)
	}
	if live != nil {
		s.catchUp(live, end, &f, report)
		v.Live = &live.liveCheck
	}
	return v
}

// fold applies one record and reports what only the fold can see. A chain
// that is broken was reported by the history already.
func (v *verdict) fold(f *fold, st *step, report reporter) {
	r := &st.rec.Record
	if d, ok := r.Data.(event.StateBaseData); ok && d.Part == d.Parts {
		v.Bases++
	}
	lost := f.lost
	f.feed(st)
	switch {
	case f.lost == lost || f.why == nil || f.state != nil:
	case st.unknown != nil:
		report(note, "unknown kind", r.Seq, r.Seq, "it was written by a newer supd: only the chain is checked up to the next base")
	case !chainBroken(f.why):
		report(damage, "impossible", r.Seq, r.Seq, "%v", f.why)
	}
}

func (v *verdict) count(st *step) {
	v.Records++
	r := &st.rec.Record
	here := checkpoint{Seq: r.Seq, Hash: st.rec.Hash}
	if v.First == nil {
		first, from := here, r.Time
		v.First, v.From = &first, &from
	}
	if !st.stray {
		if v.Last == nil {
			v.Last, v.To = &checkpoint{}, &time.Time{}
		}
		*v.Last, *v.To = here, r.Time
	}
}

func (v *verdict) print(w io.Writer, asJSON bool) error {
	if asJSON {
		b, err := event.Marshal(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "source   %s\n", v.Source)
	if v.NodeID != "" {
		fmt.Fprintf(&b, "node id  %s\n", v.NodeID)
	}
	if v.First == nil {
		b.WriteString("records  none\n")
	} else {
		zone := func(t *time.Time) string { return t.Local().Format(timeline.TimeFormat) }
		fmt.Fprintf(&b, "records  %d: %d to %d, %s to %s\n", v.Records, v.First.Seq, v.Last.Seq, zone(v.From), zone(v.To))
		fmt.Fprintf(&b, "bases    %d, %d compared with their folds\n", v.Bases, v.Compared)
		fmt.Fprintf(&b, "last     %d:%s\n", v.Last.Seq, v.Last.Hash)
	}
	if v.Checkpoint != nil {
		fmt.Fprintf(&b, "checked  against %s\n", v.Checkpoint)
	}
	if v.Live != nil {
		fmt.Fprintf(&b, "live     %s\n", v.Live.Detail)
	}
	first := true
	for _, f := range v.Findings {
		mark := "!! "
		if f.Grade == note {
			mark = "   "
		}
		if f.Grade == damage && first {
			mark, first = "!! first bad place: ", false
		}
		b.WriteString(mark + f.String() + "\n")
	}
	b.WriteString(v.Result + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}
