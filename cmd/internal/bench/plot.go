package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
)

// series is one quantity over sizes that grow.
type series struct {
	title, unit string
	points      [][2]float64 // size and value
}

func (s *series) add(size int, value float64) {
	s.points = append(s.points, [2]float64{float64(size), value})
}

// Measures of a panel, in pixels.
const (
	panelWidth, panelHeight   = 360, 240
	left, top, inside, bottom = 60, 40, 20, 40
)

// plot draws each series in a panel of its own, three in a row. Both axes are
// logarithmic: what grows in proportion is a straight line.
func plot(all []series) []byte {
	var b bytes.Buffer
	rows := (len(all) + 2) / 3
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", 3*panelWidth, rows*panelHeight)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, s := range all {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%3*panelWidth, i/3*panelHeight)
		panel(&b, s)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func panel(b *bytes.Buffer, s series) {
	const smallest = 1e-3
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range s.points {
		v := math.Log10(max(p[1], smallest))
		low, high = min(low, math.Floor(v)), max(high, math.Ceil(v))
	}
	if high <= low {
		high = low + 1
	}
	first, last := math.Log10(s.points[0][0]), math.Log10(s.points[len(s.points)-1][0])
	x := func(size float64) float64 {
		return left + (math.Log10(size)-first)/max(last-first, 1e-9)*(panelWidth-left-inside)
	}
	y := func(value float64) float64 {
		return top + (high-math.Log10(max(value, smallest)))/(high-low)*(panelHeight-top-bottom)
	}
	fmt.Fprintf(b, `<text x="%d" y="20" font-weight="bold">%s</text>`+"\n", left, html.EscapeString(s.title))
	for e := low; e <= high; e++ {
		v := math.Pow(10, e)
		fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g %s</text>`+"\n",
			left, y(v), panelWidth-inside, left-4, y(v)+4, v, s.unit)
	}
	line := "M"
	for i, p := range s.points {
		if i > 0 {
			line += "L"
		}
		line += fmt.Sprintf("%.1f %.1f", x(p[0]), y(p[1]))
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="#06c"/><text x="%.1f" y="%.1f" text-anchor="middle" fill="#06c">%.3g</text>`+"\n",
			x(p[0]), y(p[1]), x(p[0]), y(p[1])-8, p[1])
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%g</text>`+"\n", x(p[0]), panelHeight-bottom+18, p[0])
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="#06c" stroke-width="2"/>`+"\n", line)
}
