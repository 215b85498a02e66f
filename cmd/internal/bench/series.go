package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"supd/cmd/internal/bench/bigjournal"
)

// series is one quantity over sizes that grow.
type series struct {
	what, size, unit string
	points           []point
}

// point is what was sampled at one size.
type point struct {
	size                int
	median, least, most float64
	samples             int
}

// add takes the samples of one size and prints them.
func (s *series) add(size int, samples ...float64) {
	slices.Sort(samples)
	n := len(samples)
	p := point{size, samples[n/2], samples[0], samples[n-1], n}
	s.points = append(s.points, p)
	fmt.Printf("| %s | %d %s | %s %s | %s … %s | %d |\n", s.what, size, s.size, figure(p.median), s.unit, figure(p.least), figure(p.most), n)
}

// times takes times, in milliseconds.
func (s *series) times(size int, took []time.Duration) {
	samples := make([]float64, len(took))
	for i, t := range took {
		samples[i] = float64(t) / float64(time.Millisecond)
	}
	s.add(size, samples...)
}

func (s *series) at(size int) (p point, ok bool) {
	i := slices.IndexFunc(s.points, func(p point) bool { return p.size == size })
	if i < 0 {
		return p, false
	}
	return s.points[i], true
}

// figure writes a value with what can be told of it.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1 || v == 0:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// count writes a size as people do.
func count(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%d million", n/1_000_000)
	case n >= 10_000 && n%1000 == 0:
		return fmt.Sprintf("%d,000", n/1000)
	}
	return fmt.Sprint(n)
}

// page is Markdown with the figures, where and how they were taken.
func (g *growth) page(drawing string, took time.Duration, failed error) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `# How costs grow

Written by `+"`scripts/bench growth`"+`; do not edit. %s; supd %s. The run took %.0f s.

![Nine quantities over the number of services or of records; both axes are logarithmic](%s)

Both axes are logarithmic. The dashed line is growth in proportion from the first point on; the bars are the least
and the most that was sampled. Services are small programs that sleep; their figures are taken from the inside, by
the kernel's clock.

`, machine(), g.version(), took.Seconds(), drawing)
	table(&b, "services", g.withServices())
	table(&b, "records in the journal", g.withRecords())
	fmt.Fprintf(&b, "Median (least … most). Launches: 5, with 1000 services and more 3, with a journal 3. Respawns: 30, status: 10, "+
		"check: 5, deaths of the engine: %d, one after the other. Memory is taken once, %.0f s after the launch; idle CPU over %.0f s. "+
		"The journals are those of %d restless services, with a base every 100,000 records.\n", growDeaths, settle.Seconds(), growIdle.Seconds(), bigjournal.Services)
	if failed != nil {
		fmt.Fprintf(&b, "\nNot everything could be measured:\n\n")
		for line := range strings.Lines(failed.Error()) {
			fmt.Fprintf(&b, "- %s\n", strings.TrimSpace(line))
		}
	}
	return []byte(b.String())
}

// table has a row for each series and a column for each size.
func table(b *strings.Builder, size string, all []*series) {
	var sizes []int
	for _, s := range all {
		for _, p := range s.points {
			sizes = append(sizes, p.size)
		}
	}
	slices.SortFunc(sizes, cmp.Compare)
	sizes = slices.Compact(sizes)
	if len(sizes) == 0 {
		return
	}
	fmt.Fprintf(b, "| %s |", size)
	for _, n := range sizes {
		fmt.Fprintf(b, " %s |", count(n))
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---:|", len(sizes)))
	for _, s := range all {
		fmt.Fprintf(b, "| %s, %s |", s.what, s.unit)
		for _, n := range sizes {
			p, ok := s.at(n)
			switch {
			case !ok:
				b.WriteString(" – |")
			case p.samples == 1:
				fmt.Fprintf(b, " %s |", figure(p.median))
			default:
				fmt.Fprintf(b, " %s (%s … %s) |", figure(p.median), figure(p.least), figure(p.most))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}
