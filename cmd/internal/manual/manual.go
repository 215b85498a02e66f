// Package manual writes manual pages from what the programs know of
// themselves: their commands and flags, and the configuration reference. A
// page can so not say what the program does not do.
//
// The pages are in roff with the man macros, which man-db and mandoc read.
package manual

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"supd/cmd/internal/config"
)

// File is one page.
type File struct {
	Name string // supctl-start.1
	Text []byte
}

// Command is the hidden verb that writes the pages of a program into a
// folder, which it makes. more are pages beside those of its verbs. fail makes
// the error of the program's own kind.
func Command(fail func(error) error, more ...func() File) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages into a folder", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pages := Pages(cmd.Root())
			for _, m := range more {
				pages = append(pages, m())
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fail(fmt.Errorf("cannot write the manual: %w", err))
			}
			for _, p := range pages {
				if err := os.WriteFile(filepath.Join(args[0], p.Name), p.Text, 0o644); err != nil {
					return fail(fmt.Errorf("cannot write the manual: %w", err))
				}
			}
			return nil
		},
	}
}

// Pages are those of a program and of each of its verbs, sorted by name.
func Pages(root *cobra.Command) []File {
	root.InitDefaultHelpFlag()
	pages := []File{page(root)}
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			c.InitDefaultHelpFlag()
			pages = append(pages, page(c))
		}
	}
	slices.SortFunc(pages, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return pages
}

func name(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func page(c *cobra.Command) File {
	var w writer
	w.head(name(c), 1, c.Short)
	w.section("SYNOPSIS")
	if c.HasAvailableSubCommands() {
		w.text(".B " + escape(c.CommandPath()))
		w.text(escape("VERB [ARGUMENTS] [OPTIONS]"))
		if c.Runnable() && c.LocalNonPersistentFlags().HasAvailableFlags() {
			w.text(".br")
			w.synopsis(c)
		}
	} else {
		w.synopsis(c)
	}
	w.section("DESCRIPTION")
	about := c.Long
	if about == "" {
		about = c.Short + "."
	}
	w.prose(about)
	w.verbs(c)
	w.flags("OPTIONS", c.NonInheritedFlags())
	w.flags("GLOBAL OPTIONS", c.InheritedFlags())
	if c.Example != "" {
		w.section("EXAMPLES")
		w.verbatim(strings.Split(c.Example, "\n"))
	}
	w.section("SEE ALSO")
	w.also(c)
	return File{Name: name(c) + ".1", Text: w.b.Bytes()}
}

func (w *writer) synopsis(c *cobra.Command) {
	_, rest, _ := strings.Cut(c.UseLine(), c.CommandPath())
	w.text(".B " + escape(c.CommandPath()))
	if rest = strings.TrimSpace(strings.ReplaceAll(rest, "[flags]", "[OPTIONS]")); rest != "" {
		w.text(escape(rest))
	}
}

func (w *writer) verbs(c *cobra.Command) {
	if !c.HasAvailableSubCommands() {
		return
	}
	w.section("VERBS")
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			w.item(bold(strings.TrimPrefix(sub.Use, "[flags]")), sub.Short+".")
		}
	}
}

func (w *writer) flags(title string, set *pflag.FlagSet) {
	any := false
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		if !any {
			w.section(title)
			any = true
		}
		value, usage := pflag.UnquoteUsage(f)
		tag := bold("--" + f.Name)
		if f.Shorthand != "" {
			tag = bold("-"+f.Shorthand) + ", " + tag
		}
		if value != "" {
			tag += "=" + italic(value)
		}
		switch f.DefValue {
		case "", "0", "0s", "[]", "false":
		default:
			usage += " (default " + f.DefValue + ")"
		}
		w.item(tag, usage)
	})
}

// also names the pages that a reader may want next.
func (w *writer) also(c *cobra.Command) {
	pages := []string{"supd(1)", "supctl(1)", "supreplay(1)", "supd.toml(5)"}
	if c.HasParent() {
		pages = append([]string{name(c.Parent()) + "(1)"}, pages...)
	}
	var refs []string
	for _, p := range pages {
		if ref := reference(p); p != name(c)+"(1)" && !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	w.text(strings.Join(refs, ",\n"))
}

// reference is ".BR supd (1)" for supd(1).
func reference(page string) string {
	n, section, _ := strings.Cut(page, "(")
	return bold(n) + "(" + section
}

// Configuration is supd.toml(5).
func Configuration() File {
	var w writer
	w.head("supd.toml", 5, "configuration of supd")
	w.section("DESCRIPTION")
	w.prose(introduction)
	group := ""
	for _, e := range config.Reference() {
		if g := groupOf(e.Key); g != group {
			group = g
			w.section(groupTitles[g])
		}
		w.item(bold(e.Key), typeLine(e)+" "+e.Text)
	}
	w.section("EXAMPLES")
	w.verbatim(strings.Split(example, "\n"))
	w.section("SEE ALSO")
	w.text(strings.Join([]string{reference("supd(1)"), reference("supctl(1)")}, ",\n"))
	return File{Name: "supd.toml.5", Text: w.b.Bytes()}
}

// Markdown is the configuration reference as one page of Markdown.
func Markdown() []byte {
	var b strings.Builder
	b.WriteString("# Configuration reference\n\nMade from the reader's own table; do not edit.\n\n" + introduction + "\n")
	group := ""
	for _, e := range config.Reference() {
		if g := groupOf(e.Key); g != group {
			group = g
			fmt.Fprintf(&b, "\n## %s\n\n| key | type | default | change | |\n|---|---|---|---|---|\n", groupTitles[g])
		}
		cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", e.Key, cell(e.Type), cell(e.Default), e.Change, cell(e.Text))
	}
	b.WriteString("\n## Example\n\n```toml\n" + example + "\n```\n")
	return []byte(b.String())
}

func typeLine(e config.Entry) string {
	return fmt.Sprintf("(%s; default %s; %s)", e.Type, e.Default, e.Change)
}

// groupOf tells in which part of the manual a key is.
func groupOf(key string) string {
	if strings.HasPrefix(key, "service.") {
		return "service"
	}
	return "supd"
}

var groupTitles = map[string]string{"supd": "Supd itself", "service": "Services"}

const introduction = `supd run -c FILE reads FILE, in TOML, and the files that its key include names; -c
DIRECTORY reads supd.toml in it and conf.d/*.toml, in the order of their names.
Without -c it is SUPD_CONFIG, else /etc/supd for root and $XDG_CONFIG_HOME/supd
for others.

supd check finds mistakes before anything starts. Unknown keys are mistakes.
supctl plan shows what a changed configuration would do, supctl apply (or the
signal HUP to supd) does it. With a mistake in it nothing changes.

Durations are written as "500ms", "10s" or "2h". Sizes are bytes, or "16MiB" (KiB,
MiB and GiB are powers of 1024; kB, MB and GB of 1000).

Of each key the table says what a changed value does when it is applied: R
restarts the service, L takes effect live, S takes effect when supd is started
again.`

const example = `[supd]
log_level = "info"

[defaults]
restart = "always"

[service.web]
command = "/usr/bin/app --port ${PORT:-8080}"
user = "www-data"
directory = "/srv/web"
environment = { PORT = "80" }
stop.timeout = "30s"

[service.worker]
command = ["/usr/bin/worker", "--queue", "mail"]
count = 4`
