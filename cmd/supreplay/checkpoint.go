package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"supd/cmd/internal/exitcode"
	"supd/journal/event"
)

// checkpoint says that a journal had a record with this hash. Signed, it can
// be kept where others may write (P11).
type checkpoint struct {
	NodeID    string    `json:"node_id,omitempty"` // empty: not known
	Seq       event.Seq `json:"seq"`
	Hash      string    `json:"hash"`
	Time      time.Time `json:"time,omitzero"` // when it was made
	Key       string    `json:"key,omitempty"` // public key of the signature, an nkey: U…
	Signature []byte    `json:"signature,omitempty"`
}

// maxCheckpoint bounds files of checkpoints and keys, in bytes.
const maxCheckpoint = 64 << 10

// String names the record, and who has signed for it.
func (c *checkpoint) String() string {
	text := fmt.Sprintf("%d:%s", c.Seq, c.Hash)
	if c.Key != "" {
		text += fmt.Sprintf(", signed by %s at %s", c.Key, c.Time.Format(time.RFC3339))
	}
	return text
}

// signed is what a signature covers: every field but itself, and what it is
// for, so that it is good for nothing else.
func (c *checkpoint) signed() []byte {
	return fmt.Appendf(nil, "supd checkpoint 1\n%s\n%d\n%s\n%s\n%s\n", c.NodeID, c.Seq, c.Hash, c.Time.UTC().Format(time.RFC3339Nano), c.Key)
}

// readCheckpoint reads --checkpoint: SEQ:HASH, or a file whose signature must
// be by the key of --trust. It is nil for an empty text.
func readCheckpoint(held, trust string) (*checkpoint, error) {
	seq, hash, noted := strings.Cut(held, ":")
	n, err := strconv.ParseUint(seq, 10, 64)
	switch {
	case held == "" && trust != "":
		return nil, usage("cannot check against key %s: name the signed file with --checkpoint", trust)
	case held == "":
		return nil, nil
	case noted && err == nil:
		if n == 0 || len(hash) != len(event.Genesis) {
			return nil, usage("cannot read checkpoint %q: it is SEQ:HASH with a hash of %d characters", held, len(event.Genesis))
		}
		if trust != "" {
			return nil, usage("cannot check a signature: a noted SEQ:HASH has none; name a file of supreplay checkpoint")
		}
		return &checkpoint{Seq: event.Seq(n), Hash: strings.ToLower(hash)}, nil
	case missing(held):
		return nil, usage("cannot read checkpoint %q: it is neither a file nor SEQ:HASH", held)
	case trust == "":
		return nil, usage("cannot believe checkpoint %s: name the public key of who signed it with --trust", held)
	}
	return readSigned(held, trust)
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}

func readSigned(file, trust string) (*checkpoint, error) {
	b, err := readSmall(file)
	if err != nil {
		return nil, usage("cannot read checkpoint: %w", err)
	}
	var c checkpoint
	if err := json.Unmarshal(b, &c); err != nil || c.Seq == 0 || len(c.Hash) != len(event.Genesis) {
		return nil, usage("cannot read checkpoint %s: it is no file of supreplay checkpoint, nor SEQ:HASH", file)
	}
	key := trust
	if b, err := readSmall(trust); err == nil {
		key = string(bytes.TrimSpace(b))
	}
	public, err := nkeys.FromPublicKey(key)
	if err != nil {
		return nil, usage("cannot read key %s: it is neither a public key (U…) nor a file with one", trust)
	}
	if c.Key != key {
		return nil, &coded{exitcode.Failed, fmt.Errorf("cannot believe checkpoint %s: it is signed with %q, not with %s", file, c.Key, key)}
	}
	if err := public.Verify(c.signed(), c.Signature); err != nil {
		return nil, &coded{exitcode.Failed, fmt.Errorf("cannot believe checkpoint %s: it was altered: %w", file, err)}
	}
	return &c, nil
}

// readSmall reads a file that somebody else may have made.
func readSmall(file string) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hang us
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCheckpoint+1))
	if err == nil && len(b) > maxCheckpoint {
		err = fmt.Errorf("%s has more than %d bytes", file, maxCheckpoint)
	}
	return b, err
}

// belongs holds the checkpoint against the node of the source. Without a
// checkpoint there is nothing to be seen in the journal.
func (c *checkpoint) belongs(s *source, report reporter) (seen bool) {
	if c != nil && c.NodeID != "" && s.nodeID != "" && c.NodeID != s.nodeID {
		report(damage, "other node", 0, 0, "the checkpoint is of node %s, the journal of %s", c.NodeID, s.nodeID)
	}
	return c == nil
}

// compare holds the checkpoint against its record.
func (c *checkpoint) compare(st *step, report reporter) {
	r := st.rec.Record
	if st.rec.Hash != c.Hash {
		report(damage, altered, r.Seq, r.Seq, "its hash is %s, not the checkpoint's: the journal was rewritten at or before it", st.rec.Hash)
	}
}

func checkpointCommand(open opener, now func() time.Time) *cobra.Command {
	var key, out string
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Sign for the journal as it is now",
		Long: `checkpoint writes {node_id, seq, hash, time, key, signature} of the newest
record, signed with a key of supreplay keygen. The hash covers all records
before it, so that one small file says what the whole journal was: keep it on
another machine. Later, supreplay verify --checkpoint FILE --trust KEY tells
whether any of it was altered, or cut off.

The journal itself is verified first, and a damaged one is not signed for.`,
		Example: `  supreplay keygen monday.key
  supreplay checkpoint --key monday.key > monday.json
  supreplay verify --checkpoint monday.json --trust monday.key.pub`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&key, "key", "", "`FILE` with the secret key, of supreplay keygen")
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write, which must not exist (default: stdout)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		pair, err := readKey(key)
		if err != nil {
			return err
		}
		defer pair.Wipe()
		src, err := open(cmd)
		if err != nil {
			return err
		}
		src.running = false // what is signed is on disk: the live state is another question
		v := src.verify(nil)
		switch {
		case v.Result == resultDamaged:
			return &coded{exitcode.Failed, fmt.Errorf("cannot sign for the journal: it is damaged; supreplay verify tells where")}
		case v.Last == nil:
			return &coded{exitcode.Failed, errors.New("cannot sign for the journal: it is empty")}
		}
		b, err := sign(pair, checkpoint{NodeID: src.nodeID, Seq: v.Last.Seq, Hash: v.Last.Hash, Time: now().UTC().Round(0)})
		if err == nil {
			err = writeNew(out, cmd.OutOrStdout(), append(b, '\n'), 0o644)
		}
		if err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot write the checkpoint: %w", err)}
		}
		return nil
	}
	return cmd
}

// sign completes a checkpoint.
func sign(pair nkeys.KeyPair, c checkpoint) ([]byte, error) {
	public, err := pair.PublicKey()
	if err != nil {
		return nil, err
	}
	c.Key = public
	if c.Signature, err = pair.Sign(c.signed()); err != nil {
		return nil, err
	}
	return event.Marshal(c)
}

func readKey(file string) (nkeys.KeyPair, error) {
	if file == "" {
		return nil, usage("cannot sign: name a secret key with --key; supreplay keygen FILE makes one")
	}
	b, err := readSmall(file)
	if err != nil {
		return nil, usage("cannot read key: %w; supreplay keygen FILE makes one", err)
	}
	pair, err := nkeys.FromSeed(bytes.TrimSpace(b))
	clear(b)
	if err != nil {
		return nil, usage("cannot read key %s: it is no secret key of supreplay keygen: %w", file, err)
	}
	return pair, nil
}

func keygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a key to sign checkpoints with",
		Long: `keygen writes a new secret key (ed25519, an nkey seed) to FILE, which only you
may read, and its public key to FILE.pub. It overwrites nothing. Keep the
secret key away from the machine whose journal it is to vouch for.`,
		Example: "  supreplay keygen monday.key",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("keygen takes the name of one file")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			public, err := keygen(args[0])
			if err != nil {
				return &coded{exitcode.Failed, fmt.Errorf("cannot make a key: %w", err)}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), public)
			return err
		},
	}
}

func keygen(file string) (public string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return "", err
	}
	defer clear(seed)
	if public, err = pair.PublicKey(); err != nil {
		return "", err
	}
	if err := writeNew(file, nil, append(seed, '\n'), 0o600); err != nil {
		return "", err
	}
	return public, writeNew(file+".pub", nil, []byte(public+"\n"), 0o644)
}

// writeNew writes a file that does not exist yet, or to w without a name.
func writeNew(file string, w io.Writer, b []byte, mode os.FileMode) error {
	if file == "" {
		_, err := w.Write(b)
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
