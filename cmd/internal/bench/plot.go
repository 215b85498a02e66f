package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
)

// Measures of a panel, in pixels.
const (
	panelWidth, panelHeight   = 380, 260
	left, top, inside, bottom = 66, 46, 30, 46
	columns                   = 3
)

// Colours that can be read on white and on nearly black.
const (
	ink    = "#7d8590"
	accent = "#2f81f7"
)

// plot draws each series in a panel of its own, three in a row. Both axes are
// logarithmic: what grows in proportion is a straight line beside the dashed one.
func plot(all []series) []byte {
	all = slices.DeleteFunc(slices.Clone(all), func(s series) bool { return len(s.points) == 0 })
	var b bytes.Buffer
	w, h := columns*panelWidth, (len(all)+columns-1)/columns*panelHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="%s">`+"\n", w, h, w, h, ink)
	fmt.Fprintf(&b, `<clipPath id="in"><rect x="%d" y="%d" width="%d" height="%d"/></clipPath>`+"\n", left, top, panelWidth-left-inside, panelHeight-top-bottom)
	for i, s := range all {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%columns*panelWidth, i/columns*panelHeight)
		newPanel(s).draw(&b, s)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// smallest is what a logarithmic axis shows instead of nothing.
const smallest = 1e-3

// panel is the scale of one series, in decades.
type panel struct{ first, last, low, high float64 }

func newPanel(s series) panel {
	p := panel{low: math.Inf(1), high: math.Inf(-1)}
	for _, x := range s.points {
		p.low = min(p.low, math.Floor(math.Log10(max(x.least, smallest))))
		p.high = max(p.high, math.Ceil(math.Log10(max(x.most, smallest))))
	}
	p.high = max(p.high, p.low+1)
	p.first, p.last = math.Log10(float64(s.points[0].size)), math.Log10(float64(s.points[len(s.points)-1].size))
	return p
}

func (p panel) x(size int) float64 {
	const margin = 24 // for labels of points
	return left + margin + (math.Log10(float64(size))-p.first)/max(p.last-p.first, 1e-9)*(panelWidth-left-inside-2*margin)
}

func (p panel) y(value float64) float64 {
	return top + (p.high-math.Log10(max(value, smallest)))/(p.high-p.low)*(panelHeight-top-bottom)
}

func (p panel) draw(b *bytes.Buffer, s series) {
	fmt.Fprintf(b, `<text x="%d" y="20" font-weight="bold" font-size="13">%s, %s</text>`+"\n", left-50, html.EscapeString(s.what), s.unit)
	for e := p.low; e <= p.high; e++ {
		v := math.Pow(10, e)
		fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="%s" stroke-opacity=".35"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			left, p.y(v), panelWidth-inside, ink, left-6, p.y(v)+4, v)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+panelWidth-inside)/2, panelHeight-8, s.size)
	begin, end := s.points[0], s.points[len(s.points)-1]
	if len(s.points) > 1 {
		fmt.Fprintf(b, `<path clip-path="url(#in)" d="M%.1f %.1fL%.1f %.1f" stroke="%s" stroke-dasharray="4 4"/>`+"\n",
			p.x(begin.size), p.y(begin.median), p.x(end.size), p.y(begin.median)-(p.last-p.first)/(p.high-p.low)*(panelHeight-top-bottom), ink)
	}
	line := "M"
	for i, x := range s.points {
		if i > 0 {
			line += "L"
		}
		at, height := p.x(x.size), p.y(x.median)
		line += fmt.Sprintf("%.1f %.1f", at, height)
		fmt.Fprintf(b, `<path d="M%.1f %.1fV%.1f" stroke="%s" stroke-width="5" stroke-opacity=".3"/><circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n",
			at, p.y(x.least), p.y(x.most), accent, at, height, accent)
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="%s" font-weight="bold">%s</text><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			at, p.y(x.most)-6, accent, figure(x.median), at, panelHeight-bottom+16, count(x.size))
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", line, accent)
}
