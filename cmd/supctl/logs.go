package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/client"
	"supd/journal/event"
)

// logsFlags are what a person asks of the output of services.
type logsFlags struct {
	follow   bool
	lines    string
	times    bool
	since    string
	stream   string
	instance string
	all      bool
}

func (a *app) logsCmd() *cobra.Command {
	var fl logsFlags
	cmd := &cobra.Command{
		Use: "logs NAME…", Short: "Show the output of services",
		Long: `Shows what a service wrote to stdout and stderr, byte for byte. Several names, a
glob in quotes or the base name of replicas show all that they name, each line
with the service's name before it.`,
		Example: `  supctl logs web
  supctl logs -f web
  supctl logs -n all --stream stderr --since 10m web
  supctl logs --instance -1 web      # the last but one run
  supctl logs -f web db
  supctl logs worker                 # worker-0, worker-1, … together
  supctl logs -f --all`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case fl.all && len(args) > 0:
				return usage("give names or --all, not both")
			case !fl.all && len(args) == 0:
				return usage("the name of a service is missing (--all for all of them)")
			}
			return nil
		},
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := fl.request(time.Now())
			if err != nil {
				return err
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			status, err := askStatus(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			// A name that status does not know may have output of the past.
			names := status.Unknown
			for _, s := range status.Services {
				names = append(names, s.Name)
			}
			if len(args) != 1 || len(names) != 1 || names[0] != args[0] {
				return a.logsOfAll(cmd.Context(), c, req, fl, names)
			}
			req.Service = args[0]
			p := printer{w: a.out, times: fl.times}
			return c.Logs(cmd.Context(), req, fl.follow, func(l event.LogLine) error { return p.print("", l) })
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&fl.follow, "follow", "f", false, "go on with what comes")
	f.StringVarP(&fl.lines, "lines", "n", "", "the last `N` lines, or all (default 100, with -f 10)")
	f.BoolVarP(&fl.times, "times", "t", false, "write the time before each line")
	f.StringVar(&fl.since, "since", "", "only since `WHEN`: 10m ago, 03:12, or a time of RFC 3339")
	f.StringVar(&fl.stream, "stream", "", "only stdout or only stderr")
	f.StringVar(&fl.instance, "instance", "", "only this `RUN`: an instance's id, a run's number, or -1 for the last but one")
	f.BoolVar(&fl.all, "all", false, "all services, each line with the service's name before it")
	_ = cmd.RegisterFlagCompletionFunc("stream", cobra.FixedCompletions([]string{"stdout", "stderr"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (fl logsFlags) request(now time.Time) (event.LogsRequest, error) {
	req := event.LogsRequest{Stream: fl.stream, Instance: fl.instance, Tail: 100}
	if fl.stream != "" && fl.stream != "stdout" && fl.stream != "stderr" {
		return req, usage("--stream %q is neither stdout nor stderr", fl.stream)
	}
	if err := parseSince(fl.since, now, &req.Since, nil); err != nil {
		return req, err
	}
	switch {
	case fl.lines == "all", fl.lines == "" && fl.since != "":
		req.Tail = -1
	case fl.lines == "" && fl.follow:
		req.Tail = 10
	case fl.lines != "":
		n, err := strconv.Atoi(fl.lines)
		if err != nil || n < 0 {
			return req, usage("-n %q is neither a number nor all", fl.lines)
		}
		req.Tail = n
	}
	return req, nil
}

// manyServices is how many may be followed with long waits: supd lets one
// actor have 48 of them. More are polled.
const manyServices = 40

// logsOfAll shows the output of several services, each line with its name:
// merged by time, or as it comes when following.
func (a *app) logsOfAll(ctx context.Context, c *client.Client, req event.LogsRequest, fl logsFlags, services []string) error {
	if len(services) > manyServices {
		req.Wait = event.Duration(100 * time.Millisecond)
	}
	p := printer{w: a.out, times: fl.times}
	type named struct {
		service string
		event.LogLine
	}
	var (
		all    []named
		failed error
		wg     sync.WaitGroup
		mu     sync.Mutex // guards all, failed and p
	)
	for _, name := range services {
		req := req
		req.Service = name
		read := func() {
			err := c.Logs(ctx, req, fl.follow, func(l event.LogLine) error {
				mu.Lock()
				defer mu.Unlock()
				if fl.follow {
					return p.print(name, l)
				}
				all = append(all, named{name, l})
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		}
		if fl.follow {
			wg.Go(read)
		} else {
			read()
		}
	}
	wg.Wait()
	sort.SliceStable(all, func(i, j int) bool { return all[i].Time.Before(all[j].Time) })
	for _, n := range all {
		if err := p.print(n.service, n.LogLine); err != nil {
			return err
		}
	}
	return failed
}

// printer writes lines as raw bytes. A piece of a long line is written
// without line end, unless something else comes between.
type printer struct {
	w     io.Writer
	times bool
	open  string // whose line has no end yet
}

func (p *printer) print(service string, l event.LogLine) error {
	source := service + "\x00" + l.Stream + "\x00" + l.Instance
	var out []byte
	if p.open != "" && p.open != source {
		out = append(out, '\n')
	}
	if p.open != source {
		if p.times {
			out = fmt.Appendf(out, "%s ", l.Time.Local().Format("2006-01-02T15:04:05.000"))
		}
		if service != "" {
			out = fmt.Appendf(out, "%s | ", service)
		}
	}
	out = append(out, l.Data...)
	p.open = source
	if !l.Partial {
		out, p.open = append(out, '\n'), ""
	}
	_, err := p.w.Write(out)
	return err
}
