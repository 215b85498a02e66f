package timeline

import (
	"fmt"
	"html"
	"strings"

	"supd/journal/event"
)

// Measures of a drawing, in pixels.
const (
	boxWidth, boxHeight = 190, 44
	columnGap, rowGap   = 80, 16
	margin              = 20
	legend              = 24
)

// SVG is a drawing of a dependency graph that a browser shows: what is needed is
// left of who needs it, and the critical path is red. It refers to nothing
// outside of itself.
func SVG(nodes []GraphNode) string {
	type place struct{ x, y int }
	column, at, rows := map[string]int{}, map[string]place{}, map[int]int{}
	width, height := 0, 0
	for _, n := range nodes { // each behind what it needs
		c := 0
		for _, e := range n.Needs {
			if left, drawn := column[e.Service]; drawn {
				c = max(c, left+1)
			}
		}
		p := place{margin + c*(boxWidth+columnGap), margin + rows[c]*(boxHeight+rowGap)}
		column[n.Service], at[n.Service] = c, p
		rows[c]++
		width, height = max(width, p.x+boxWidth), max(height, p.y+boxHeight)
	}
	path, took := Critical(nodes)
	on, critical := criticalEdges(nodes), map[string]bool{}
	for _, name := range path {
		critical[name] = len(path) > 1
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n",
		width+margin, height+margin+legend)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for _, n := range nodes {
		to := at[n.Service]
		for _, e := range n.Needs {
			from, drawn := at[e.Service]
			if !drawn {
				continue
			}
			stroke, dash := `stroke="#888"`, map[string]string{"wants": ` stroke-dasharray="6 3"`, "after": ` stroke-dasharray="2 3"`}[e.Kind]
			if on[[2]string{e.Service, n.Service}] {
				stroke = `stroke="#c00" stroke-width="2.5"`
			}
			x1, y1, x2, y2 := from.x+boxWidth, from.y+boxHeight/2, to.x, to.y+boxHeight/2
			fmt.Fprintf(&b, `<path d="M%d %d C%d %d %d %d %d %d" fill="none" %s%s><title>%s</title></path>`+"\n",
				x1, y1, x1+columnGap/2, y1, x2-columnGap/2, y2, x2, y2, stroke, dash,
				html.EscapeString(fmt.Sprintf("%s %s %s: %s", clean(n.Service), e.Kind, clean(e.Service), e.Condition)))
		}
	}
	for _, n := range nodes {
		drawBox(&b, n, at[n.Service].x, at[n.Service].y, critical[n.Service])
	}
	if len(path) > 1 {
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#c00">critical path: %s; together %s</text>`+"\n",
			margin, height+margin+legend/2, html.EscapeString(clean(strings.Join(path, " → "))), span(event.Duration(took)))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func drawBox(b *strings.Builder, n GraphNode, x, y int, critical bool) {
	stroke := `stroke="#888"`
	if critical {
		stroke = `stroke="#c00" stroke-width="2.5"`
	}
	text := string(n.State)
	if d, ok := n.took(); ok {
		text += ", " + span(event.Duration(d))
	}
	title := ""
	if n.Reason != nil {
		title = "<title>" + html.EscapeString(clean(*n.Reason)) + "</title>"
	}
	fmt.Fprintf(b, `<g><rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="%s" %s/>`, x, y, boxWidth, boxHeight, phaseFill(n.State), stroke)
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold">%s</text><text x="%d" y="%d" fill="#444">%s</text>%s</g>`+"\n",
		x+8, y+18, html.EscapeString(Cut(clean(n.Service), 22)), x+8, y+36, html.EscapeString(text), title)
}
