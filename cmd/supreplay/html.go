package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
)

func htmlCommand(open opener, now func() time.Time) *cobra.Command {
	var q query
	var since, until, file string
	var silent bool
	cmd := &cobra.Command{
		Use:   "html",
		Short: "Write the history as one page to look at and to attach",
		Long: `html writes one HTML file that shows a lane for each service: its phases as
bars, with crashes, commands, gaps and the deaths of supd itself as marks. Each
opens to its record, the causes it names and the output around it. The file
needs nothing else: no network, no supd, no folder; any browser of today opens
it, also on a phone, with mouse, touch or keys.

It holds the records as they are stored and, unless --no-output is given, the
lines that services wrote around what is marked. Values in those lines that
look like secrets are replaced, which finds the usual forms and not all: look
before you pass it on. Exit code 1 says that the journal is damaged; the page
shows where.`,
		Example: `  supreplay html --since 03:00 --until 03:30 -o incident.html
  supreplay html --from ./copy --service 'web*' -o web.html`,
		Args: cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVarP(&file, "output", "o", "", "write this `FILE` (default: stdout)")
	fl.StringVar(&since, "since", "", "from this `MOMENT` on (see supreplay --help)")
	fl.StringVar(&until, "until", "", "up to this `MOMENT`")
	fl.StringVar(&q.service, "service", "", "only about this service; * and ? match")
	fl.BoolVar(&silent, "no-output", false, "leave out what services wrote")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := q.parse(since, until, now()); err != nil {
			return err
		}
		if out, ok := cmd.OutOrStdout().(*os.File); ok && file == "" && isTerminal(out) {
			return usage("cannot write a page to a terminal: name a file with -o")
		}
		src, err := open(cmd)
		if err != nil {
			return err
		}
		rep, err := src.report(q, !silent, func(f *finding) { fmt.Fprintln(cmd.ErrOrStderr(), "!! "+f.String()) })
		if err == nil {
			err = writeTo(file, cmd.OutOrStdout(), rep.write)
		}
		if err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot write the page: %w", err)}
		}
		if rep.Meta.Damaged {
			return &coded{code: exitcode.Failed}
		}
		return nil
	}
	return cmd
}

// writeTo writes a whole file or none: it gets its name when it is complete.
// Only its owner may read it, for nobody knows what services write.
func writeTo(file string, stdout io.Writer, write func(io.Writer) error) (err error) {
	if file == "" {
		b := bufio.NewWriter(stdout)
		return errors.Join(write(b), b.Flush())
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+path.Base(file)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	b := bufio.NewWriter(f)
	if err := errors.Join(write(b), b.Flush(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
