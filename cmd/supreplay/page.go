package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"strings"
	"text/template"
)

// The parts of a page. They run in the order in which they are here; all are
// one script, so that one hash in the page's policy admits them.
var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageStyle string
	//go:embed page/data.js
	pageData string
	//go:embed page/lanes.js
	pageLanes string
	//go:embed page/draw.js
	pageDraw string
	//go:embed page/detail.js
	pageDetail string
	//go:embed page/input.js
	pageInput string
)

// chunkRows is how many stored records are packed together: they are unpacked
// when one of them is opened.
const chunkRows = 512

// maxStored bounds one record in a page, in bytes: a base may be megabytes.
const maxStored = 64 << 10

var page = template.Must(template.New("page").Parse(pageHTML))

// write writes the page. Everything that came from outside is packed and
// written in base64, which no content can break out of, and the script puts it
// into the document as text only. Should both fail, the policy admits no other
// script, and no address at all.
func (p *report) write(w io.Writer) error {
	script := "'use strict';(()=>{\n" + pageData + pageLanes + pageDraw + pageDetail + pageInput + "\nstart();\n})();"
	policy := fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'", digest(script), digest(pageStyle))
	columns, err := packed(p)
	if err != nil {
		return err
	}
	var chunks []string
	for from := 0; from < len(p.stored); from += chunkRows {
		rows := p.stored[from:min(from+chunkRows, len(p.stored))]
		for i, r := range rows {
			if len(r) > maxStored {
				rows[i] = strings.ToValidUTF8(r[:maxStored], "") + fmt.Sprintf(" … and %d bytes more: supreplay timeline -o json shows all", len(r)-maxStored)
			}
		}
		b, err := packed(rows)
		if err != nil {
			return err
		}
		chunks = append(chunks, b)
	}
	return page.Execute(w, map[string]any{
		"Policy": policy, "Style": pageStyle, "Script": script,
		"Title": html.EscapeString(p.title()), "Columns": columns, "Chunks": chunks,
	})
}

func (p *report) title() string {
	node := strings.TrimPrefix(p.Meta.Node, "supd/")
	node, _, _ = strings.Cut(node, "/")
	return strings.TrimSpace("supd history " + node)
}

// digest is how a content policy names what it admits.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// packed is a value as JSON, packed with gzip, in base64.
func packed(v any) (string, error) {
	var b bytes.Buffer
	text := base64.NewEncoder(base64.StdEncoding, &b)
	z := gzip.NewWriter(text)
	if err := json.NewEncoder(z).Encode(v); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	if err := text.Close(); err != nil {
		return "", err
	}
	return b.String(), nil
}
