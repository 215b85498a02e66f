package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/version"
	"supd/journal/event"
)

// Files of a bundle.
const (
	bundleManifest = "manifest.json"
	bundleRecords  = "records"
	bundleOutput   = "output.jsonl"
	bundleConfig   = "services.json"
	bundleFormat   = 1
)

// manifest says what is in a bundle, and how it came about.
type manifest struct {
	Format   int          `json:"format"`
	Made     time.Time    `json:"made"`
	By       string       `json:"by"`
	Source   string       `json:"source"`
	NodeID   string       `json:"node_id"`
	Asked    string       `json:"asked"` // --since and --until
	Records  int          `json:"records"`
	First    *checkpoint  `json:"first"`
	Last     *checkpoint  `json:"last"`
	Findings []*finding   `json:"findings"` // what is wrong with the source, as verify writes it
	Output   bundledText  `json:"output"`
	Machine  machine      `json:"machine"` // on which the bundle was made
	Notes    []string     `json:"notes"`
	Files    []bundleFile `json:"files"`
}

type bundledText struct {
	Included bool   `json:"included"`
	Lines    int    `json:"lines"`
	Redacted int    `json:"redacted"` // values replaced in them
	Left     string `json:"left"`     // what is left out, and why
}

type bundleFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// notes are what somebody who passes a bundle on has to know.
var bundleNotes = []string{
	"records are as they are stored, so that their hashes hold: names, command lines and the names of environment variables are in them, values of variables never were",
	"in output lines, values that look like secrets are replaced; other forms of secrets pass",
}

func bundleCommand(open opener, now func() time.Time) *cobra.Command {
	var q query
	var since, until, file string
	var text bool
	cmd := &cobra.Command{
		Use:        "bundle -o FILE",
		SuggestFor: []string{"pack", "export"},
		Short:      "Pack what explains an incident into one file",
		Long: `bundle writes one file (tar, zstd) to attach to a ticket or to keep: the records
of the time asked for exactly as they are stored, beginning at the newest state
in the journal before it, so that every moment of that time can be rebuilt and
verified; the services' applied configuration without any value of a variable;
the machine's kernel, size and versions; and a manifest with the hash of each.
With --output it also holds the lines that services wrote around crashes,
commands and other marks.

Every verb reads it with --from FILE, on any machine, without supd. Values in
output lines that look like secrets are replaced; the manifest counts them. It
knows the usual forms only: look before you pass it on. Exit code 1 says that
the source is damaged; the bundle is made all the same, and its manifest says
where. To keep the damaged bytes themselves, pack the state folder with tar.`,
		Example: `  supreplay bundle -o incident.tar.zst --since 03:00 --until 03:30 --output
  supreplay why web --from incident.tar.zst`,
		Args: cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVarP(&file, "out", "o", "", "write this `FILE`")
	fl.StringVar(&since, "since", "", "from this `MOMENT` on (see supreplay --help)")
	fl.StringVar(&until, "until", "", "up to this `MOMENT`")
	fl.BoolVar(&text, "output", false, "with what services wrote around marks")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := q.parse(since, until, now()); err != nil {
			return err
		}
		if file == "" {
			return usage("cannot make a bundle: name its file with -o")
		}
		src, err := open(cmd)
		if err != nil {
			return err
		}
		b := &bundler{src: src, query: q, text: text, note: func(f *finding) { fmt.Fprintln(cmd.ErrOrStderr(), "!! "+f.String()) }}
		b.manifest.Made = now().UTC().Truncate(time.Second)
		if err := writeTo(file, nil, b.write); err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot make bundle %s: %w", file, err)}
		}
		b.summary(cmd.OutOrStdout(), file)
		if b.damaged {
			return &coded{code: exitcode.Failed}
		}
		return nil
	}
	return cmd
}

// bundler makes a bundle.
type bundler struct {
	query
	src      *source
	text     bool
	note     func(*finding)
	manifest manifest
	damaged  bool
	fold     fold
	records  hashed // in a temporary file: a journal may be larger than memory
}

// hashed is a file that is written once, with its size and digest.
type hashed struct {
	name string
	file *os.File
	size int64
	sum  interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func (h *hashed) Write(b []byte) (int, error) {
	n, err := h.file.Write(b)
	_, _ = h.sum.Write(b[:n])
	h.size += int64(n)
	return n, err
}

func (b *bundler) write(w io.Writer) error {
	if err := b.resolve(b.src); err != nil {
		return err
	}
	temporary, err := os.CreateTemp("", "supreplay-")
	if err != nil {
		return fmt.Errorf("%w; set TMPDIR to a folder with room", err)
	}
	defer func() { _ = temporary.Close(); _ = os.Remove(temporary.Name()) }()
	b.records = hashed{name: bundleRecords, file: temporary, sum: sha256.New()}
	if err := b.collect(); err != nil {
		return err
	}
	m := &b.manifest
	m.Format, m.By, m.Source, m.NodeID, m.Asked = bundleFormat, "supreplay "+version.Version, b.src.name, b.src.nodeID, b.filter()
	m.Machine, m.Notes = thisMachine(), bundleNotes
	var files []namedBytes
	config, err := b.services()
	if err != nil {
		return err
	}
	files = append(files, namedBytes{bundleConfig, config})
	if b.text {
		lines, err := b.output()
		if err != nil {
			return err
		}
		files = append(files, namedBytes{bundleOutput, lines})
	}
	m.Files = append(m.Files, bundleFile{b.records.name, b.records.size, hex.EncodeToString(b.records.sum.Sum(nil))})
	for _, f := range files {
		sum := sha256.Sum256(f.bytes)
		m.Files = append(m.Files, bundleFile{f.name, int64(len(f.bytes)), hex.EncodeToString(sum[:])})
	}
	return b.pack(w, files)
}

type namedBytes struct {
	name  string
	bytes []byte
}

// pack writes the archive, the manifest first.
func (b *bundler) pack(w io.Writer, files []namedBytes) error {
	z, err := zstd.NewWriter(w)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(z)
	add := func(name string, size int64, from io.Reader) error {
		err := archive.WriteHeader(&tar.Header{Name: "supd-bundle/" + name, Mode: 0o600, Size: size, ModTime: b.manifest.Made, Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.Copy(archive, from)
		}
		return err
	}
	text, err := event.Marshal(b.manifest)
	if err != nil {
		return err
	}
	if err := add(bundleManifest, int64(len(text)), bytes.NewReader(text)); err != nil {
		return err
	}
	if _, err := b.records.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := add(bundleRecords, b.records.size, b.records.file); err != nil {
		return err
	}
	for _, f := range files {
		if err := add(f.name, int64(len(f.bytes)), bytes.NewReader(f.bytes)); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return z.Close()
}

// collect writes the records of the time asked for, from the base on that a
// fold to its beginning starts at.
func (b *bundler) collect() error {
	from := uint64(0)
	if b.since != nil {
		from = b.src.aim(*b.since).base
	}
	m := &b.manifest
	m.Findings = []*finding{}
	var latest time.Time
	for st := range b.src.history(reading{from: from}) {
		if f := st.finding; f != nil {
			if b.damaged = b.damaged || f.Grade == damage; f.Grade == damage {
				b.note(f)
			}
			if len(m.Findings) < maxFindings {
				m.Findings = append(m.Findings, f)
			}
			continue
		}
		r := st.rec.Record
		if r.Time.After(latest) && !st.stray {
			latest = r.Time
		}
		if b.until != nil && (b.until.seq != 0 && r.Seq > b.until.seq || b.until.seq == 0 && latest.After(b.until.at)) {
			break
		}
		b.fold.feed(st)
		if err := writeRecord(&b.records, st.entry); err != nil {
			return err
		}
		m.Records++
		c := &checkpoint{NodeID: b.src.nodeID, Seq: r.Seq, Hash: st.rec.Hash}
		if m.First == nil {
			m.First = c
		}
		m.Last = c
	}
	if m.Records == 0 {
		return fmt.Errorf("no record is of that time")
	}
	return nil
}

// services is the configuration that was applied at the end, as the journal
// has it: without values of variables (P10).
func (b *bundler) services() ([]byte, error) {
	type service struct {
		Name   string     `json:"name"`
		Digest string     `json:"digest"`
		Spec   event.Spec `json:"spec"`
	}
	all := struct {
		Digest   string    `json:"digest"`
		Services []service `json:"services"`
	}{Services: []service{}}
	if b.fold.known() {
		all.Digest = b.fold.state.Config.Digest
		for _, v := range b.fold.state.Services {
			all.Services = append(all.Services, service{v.Name, v.Digest, v.Spec})
		}
		slices.SortFunc(all.Services, func(x, y service) int { return strings.Compare(x.Name, y.Name) })
	}
	return event.Marshal(all)
}

// output is the lines around marks, as a page has them, one object a line.
func (b *bundler) output() ([]byte, error) {
	rep, err := b.src.report(b.query, true, func(*finding) {})
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for n, o := range rep.Output {
		at := rep.Meta.Start
		for i := range o.Text {
			at += o.Time[i]
			line, err := event.Marshal(bundledLine{rep.Services[n], time.UnixMicro(at).UTC(), streams[o.Stream[i]], o.Text[i]})
			if err != nil {
				return nil, err
			}
			text.Write(append(line, '\n'))
			b.manifest.Output.Lines++
		}
	}
	b.manifest.Output.Included, b.manifest.Output.Redacted, b.manifest.Output.Left = true, rep.Meta.Redacted, rep.Meta.Left
	return text.Bytes(), nil
}

func (b *bundler) summary(w io.Writer, file string) {
	m := b.manifest
	fmt.Fprintf(w, "%s: records %d to %d", file, m.First.Seq, m.Last.Seq)
	if m.Output.Included {
		fmt.Fprintf(w, ", %d lines of output with %d values replaced", m.Output.Lines, m.Output.Redacted)
	} else {
		fmt.Fprint(w, ", no output (--output adds it)")
	}
	fmt.Fprintln(w)
	if m.Output.Left != "" {
		fmt.Fprintf(w, "left out of the output: %s\n", m.Output.Left)
	}
}
