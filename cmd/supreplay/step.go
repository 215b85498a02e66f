package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector/timeline"
)

const stepHelp = `n, space, →   next record        N   next record about the same service
p, ←          record before      P   record before about the same service
s NAME        walk over this service only; s alone: over all
g MOMENT      go to a record, a time or "third crash of web"
t SPAN        go on by a time span: t 10s, t -5m
q             quit`

func stepCommand(open opener, now func() time.Time) *cobra.Command {
	var service string
	cmd := &cobra.Command{
		Use:   "step [MOMENT]",
		Short: "Walk through the journal, record by record",
		Long: `step shows a record, those around it, the state of all services after it and
what the service wrote to its output at that time. On a terminal a key moves;
otherwise each line of stdin is a command:

` + stepHelp,
		Example: `  supreplay step
  supreplay step 03:12 --service web
  printf 'p\np\n' | supreplay step --from ./copy`,
	}
	cmd.Flags().StringVar(&service, "service", "", "walk over the records about this service; * and ? match")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m, err := optionalMoment(strings.Join(args, " "), now())
		if err != nil {
			return err
		}
		src, err := open(cmd)
		if err != nil {
			return err
		}
		st, err := newStepper(src)
		if err == nil && m != nil {
			err = st.gotoMoment(*m)
		}
		if err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot step: %w", err)}
		}
		w := &walker{stepper: st, now: now}
		if service != "" {
			w.do("s " + service)
		}
		if in, out, ok := terminal(cmd.InOrStdin(), cmd.OutOrStdout()); ok {
			return w.keys(in, out)
		}
		return w.lines(cmd.InOrStdin(), cmd.OutOrStdout())
	}
	return cmd
}

// walker carries out what somebody types.
type walker struct {
	*stepper
	now  func() time.Time
	note string // what could not be done
}

// do carries out one command; false ends the walk.
func (w *walker) do(command string) bool {
	w.note = ""
	verb, rest, _ := strings.Cut(strings.TrimSpace(command), " ")
	rest = strings.TrimSpace(rest)
	var err error
	switch verb {
	case "n", "":
		err = w.move(true, w.service)
	case "p":
		err = w.move(false, w.service)
	case "N", "P":
		if subject := w.here().Subject; subject == "" {
			err = errors.New("this record is about no service")
		} else {
			err = w.move(verb == "N", subject)
		}
	case "s":
		err = w.only(rest)
	case "g":
		var m moment
		if m, err = parseMoment(rest, w.now()); err == nil {
			err = w.gotoMoment(m)
		}
	case "t":
		var d time.Duration
		if d, err = time.ParseDuration(rest); err == nil {
			err = w.gotoMoment(moment{at: w.here().Time.Add(d)})
		}
	case "q":
		return false
	case "?", "h":
		w.note = stepHelp
	default:
		err = fmt.Errorf("%q is no command; ? lists them", verb)
	}
	if err != nil {
		w.note = err.Error()
	}
	return true
}

// only walks over one service from here on, beginning with the record of it
// that is nearest before.
func (w *walker) only(service string) error {
	w.service = service
	if service == "" || about(w.here(), service) || w.move(false, service) == nil {
		return nil
	}
	if err := w.move(true, service); err != nil {
		w.service = ""
		return fmt.Errorf("no record is about a service %s", service)
	}
	return nil
}

// lines is the walk without a terminal.
func (w *walker) lines(in io.Reader, out io.Writer) error {
	b := bufio.NewWriter(out)
	commands := bufio.NewScanner(in)
	for {
		for _, l := range w.view(0, 0) {
			fmt.Fprintln(b, l)
		}
		fmt.Fprintln(b)
		if err := b.Flush(); err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot write: %w", err)}
		}
		if !commands.Scan() || !w.do(commands.Text()) {
			return nil
		}
	}
}

// Sizes of the parts of a view, in lines.
const (
	contextLines = 4
	outputLines  = 8
	outputSpan   = 2 * time.Second
	fewestRows   = 3
)

// view is what is shown, in lines cut to a width and at most so many; 0 is
// without a bound.
func (w *walker) view(width, height int) []string {
	r := w.here()
	head := fmt.Sprintf("record %d of %d to %d, %s", r.Seq, w.marks[0].seq, w.last, r.Time.Local().Format(timeline.TimeFormat+" MST"))
	if w.service != "" {
		head += ", walking over " + w.service
	}
	lines := []string{head, ""}
	records, at := w.around(contextLines)
	for i, x := range records {
		x.Time = x.Time.Local()
		sign := "  "
		if i == at {
			sign = "> "
		}
		lines = append(lines, sign+timeline.Line(x))
	}
	below := append([]string{""}, w.written(r)...)
	if w.note != "" {
		below = append(below, strings.Split(w.note, "\n")...)
	}
	room := 0
	if height > 0 {
		room = max(fewestRows, height-len(lines)-len(below)-1)
	}
	lines = append(append(append(lines, ""), w.services(r.Subject, room)...), below...)
	for i, l := range lines {
		lines[i] = cut(printable(l), width)
	}
	if height > 0 && len(lines) > height {
		lines = lines[:height]
	}
	return lines
}

// services is the state after the record, the service that it is about first.
func (w *walker) services(first string, room int) []string {
	state, why := w.state()
	if state == nil {
		return []string{"no state: " + why}
	}
	var lines, rest []string
	for _, s := range timeline.Status(state) {
		pid, reason := "-", ""
		if s.PID != nil {
			pid = fmt.Sprint(*s.PID)
		}
		if s.Reason != nil {
			reason = *s.Reason
		}
		line := strings.TrimRight(fmt.Sprintf("  %-20s %-9s pid %-8s restarts %-4d %s", s.Name, s.State, pid, s.Restarts, reason), " ")
		if s.Name == first {
			lines = append(lines, line)
		} else {
			rest = append(rest, line)
		}
	}
	lines = append(lines, rest...)
	if room > 0 && len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1], fmt.Sprintf("  … and %d more services", more))
	}
	return lines
}

// written is what the service of the record wrote around that time.
func (w *walker) written(r event.Record) []string {
	if r.Subject == "" {
		return nil
	}
	found, _, err := w.src.output(r.Subject, r.Time.Add(-outputSpan), r.Time.Add(outputSpan), 64<<10)
	if err != nil {
		return []string{"no output: " + err.Error()}
	}
	var before, behind []string
	for _, l := range found {
		text := fmt.Sprintf("  %s %s| %s", l.Time.Local().Format("15:04:05.000"), l.Stream, l.Data)
		switch {
		case l.Time.After(r.Time):
			behind = append(behind, text)
		default:
			before = append(before, text)
		}
	}
	if len(before)+len(behind) == 0 {
		return nil
	}
	before, behind = before[max(0, len(before)-outputLines/2):], behind[:min(len(behind), outputLines/2)]
	lines := append([]string{"output of " + r.Subject + ":"}, before...)
	return append(append(lines, "  "+r.Time.Local().Format("15:04:05.000")+" ---- "+string(r.Kind)), behind...)
}

// cut shortens a line to a width, in characters.
func cut(line string, width int) string {
	if width <= 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:max(0, width-1)]) + "…"
}

// printable keeps what services wrote from steering the terminal.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, line)
}

// terminal tells whether both ends are one.
func terminal(in io.Reader, out io.Writer) (*os.File, *os.File, bool) {
	i, ok := in.(*os.File)
	o, too := out.(*os.File)
	return i, o, ok && too && isTerminal(i) && isTerminal(o)
}
