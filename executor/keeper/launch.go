package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"golang.org/x/sys/unix"
)

// Launch is what the stub sets up, in this order: session and signals, niceness,
// oom_score_adj, limits, umask, output, user, directory; then it waits at the gate,
// then executes the first of Paths that exists.
type Launch struct {
	// Paths are the candidates, absolute or relative to Dir, tried in order until
	// one is neither ENOENT nor ENOTDIR (1 to 64).
	Paths []string
	Args  []string // argv, the name included (at least 1)
	Env   []string // NAME=value
	Dir   string   // working directory; empty stays in /
	Umask uint32   // 0 to 0777
	// SetUser makes the stub drop to UID, GID and exactly Groups (up to 256).
	SetUser  bool
	UID, GID uint32
	Groups   []uint32
	Nice     int // -20 to 19, best effort
	// OOMScoreAdj is -1000 to 1000, best effort.
	OOMScoreAdj int
	Limits      []Limit // resource limits (up to 32)
	// ReadyFD is the descriptor on which the program says, by a newline, that it is
	// ready (3 to 255); 0: none.
	ReadyFD int
}

// Limit is one setrlimit(2); math.MaxUint64 means unlimited.
type Limit struct {
	Resource   int
	Soft, Hard uint64
}

// Bounds of a launch block. They are Linux's own where it has some: one string
// of argv or envp at most 128 KiB, all of it at most 6 MiB.
const (
	maxPaths      = 64
	maxGroups     = 256
	maxLimits     = 32
	maxStrings    = 1 << 16
	maxStringSize = 128 << 10
	maxBlock      = 6 << 20
	maxReadyFD    = 255
)

// The block is read by the stub without parsing: a fixed header of 32-bit little
// endian words, arrays, then strings that end in a zero byte, in the order of
// the counts. stub.c names the same words.
const (
	launchMagic   = 0x31447553 // "SuD1", the version included
	launchWords   = 16
	flagSetUser   = 1 << 0
	flagNice      = 1 << 1
	flagOOM       = 1 << 2
	flagOutput    = 1 << 3 // reopen stdout and stderr
	shiftPassed   = 16     // 8 bits: how many descriptors are passed on
	shiftBase     = 24     // 8 bits: the first number the program finds them at; 0: 3
	wordMagic     = 0
	wordSize      = 1 // of the whole block
	wordFlags     = 2
	wordUmask     = 3
	wordUID       = 4
	wordGID       = 5
	wordNice      = 6 // two's complement
	wordOOM       = 7 // two's complement
	wordGroups    = 8 // count of 32-bit words after the header
	wordLimits    = 9 // count of {u64 resource, soft, hard} after the groups, 8-aligned
	wordPaths     = 10
	wordArgs      = 11
	wordEnv       = 12
	wordDir       = 13 // 1 if a directory follows as the last string
	wordLimitsOff = 14 // offset of the limits
	wordStrings   = 15 // offset of the strings
)

// EncodeLaunch writes the block that the stub reads. It fails if something is
// out of Launch's bounds or a string holds a zero byte.
func EncodeLaunch(l Launch) ([]byte, error) {
	// The oom score is set even to 0: the keeper's own protection is inherited.
	flags := uint32(flagOutput | flagOOM)
	if l.ReadyFD != 0 {
		flags |= 1<<shiftPassed | uint32(l.ReadyFD)<<shiftBase
	}
	return l.encode(flags)
}

// encode writes the block with the flags given and those that follow from l.
func (l *Launch) encode(flags uint32) ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("cannot encode launch: %w", err)
	}
	groups := l.Groups
	if !l.SetUser {
		groups = nil
	}
	limits := (4*(launchWords+len(groups)) + 7) &^ 7
	text := limits + 24*len(l.Limits)
	b := make([]byte, text, text+256)
	put := func(word int, v uint32) { binary.LittleEndian.PutUint32(b[4*word:], v) }
	put(wordMagic, launchMagic)
	put(wordUmask, l.Umask)
	if l.SetUser {
		flags |= flagSetUser
		put(wordUID, l.UID)
		put(wordGID, l.GID)
	}
	if l.Nice != 0 {
		flags |= flagNice
	}
	put(wordFlags, flags)
	put(wordNice, uint32(int32(l.Nice)))
	put(wordOOM, uint32(int32(l.OOMScoreAdj)))
	put(wordGroups, uint32(len(groups)))
	put(wordLimits, uint32(len(l.Limits)))
	put(wordPaths, uint32(len(l.Paths)))
	put(wordArgs, uint32(len(l.Args)))
	put(wordEnv, uint32(len(l.Env)))
	put(wordLimitsOff, uint32(limits))
	put(wordStrings, uint32(text))
	for i, g := range groups {
		put(launchWords+i, g)
	}
	for i, r := range l.Limits {
		at := b[limits+24*i:]
		binary.LittleEndian.PutUint64(at, uint64(r.Resource))
		binary.LittleEndian.PutUint64(at[8:], r.Soft)
		binary.LittleEndian.PutUint64(at[16:], r.Hard)
	}
	for _, list := range [][]string{l.Paths, l.Args, l.Env} {
		for _, s := range list {
			b = append(append(b, s...), 0)
		}
	}
	if l.Dir != "" {
		put(wordDir, 1)
		b = append(append(b, l.Dir...), 0)
	}
	if len(b) > maxBlock {
		return nil, fmt.Errorf("cannot encode launch: arguments and environment exceed %d MiB; make them shorter", maxBlock>>20)
	}
	put(wordSize, uint32(len(b)))
	return b, nil
}

func (l *Launch) check() error {
	switch {
	case len(l.Paths) == 0 || len(l.Paths) > maxPaths:
		return fmt.Errorf("%d candidate paths, want 1 to %d", len(l.Paths), maxPaths)
	case len(l.Args) == 0 || len(l.Args) > maxStrings || len(l.Env) > maxStrings:
		return fmt.Errorf("%d arguments and %d variables, want 1 to %d", len(l.Args), len(l.Env), maxStrings)
	case len(l.Groups) > maxGroups:
		return fmt.Errorf("%d groups exceed %d", len(l.Groups), maxGroups)
	case len(l.Limits) > maxLimits:
		return fmt.Errorf("%d limits exceed %d", len(l.Limits), maxLimits)
	case l.Umask > 0o777:
		return fmt.Errorf("umask %#o exceeds 0777", l.Umask)
	case l.Nice < -20 || l.Nice > 19:
		return fmt.Errorf("nice %d is not within -20 to 19", l.Nice)
	case l.OOMScoreAdj < -1000 || l.OOMScoreAdj > 1000:
		return fmt.Errorf("oom_score_adj %d is not within -1000 to 1000", l.OOMScoreAdj)
	case l.ReadyFD != 0 && (l.ReadyFD < 3 || l.ReadyFD > maxReadyFD):
		return fmt.Errorf("descriptor %d for readiness is not within 3 to %d", l.ReadyFD, maxReadyFD)
	case l.SetUser && (l.UID == math.MaxUint32 || l.GID == math.MaxUint32):
		return errors.New("user or group 4294967295 means none")
	}
	for _, r := range l.Limits {
		if r.Resource < 0 || r.Resource > 63 || r.Soft > r.Hard {
			return fmt.Errorf("limit %d: soft %d, hard %d is not valid", r.Resource, r.Soft, r.Hard)
		}
	}
	for _, list := range [][]string{l.Paths, l.Args, l.Env, {l.Dir}} {
		for _, s := range list {
			if len(s) >= maxStringSize {
				return fmt.Errorf("a text of %d bytes exceeds %d", len(s), maxStringSize-1)
			}
			if strings.IndexByte(s, 0) >= 0 {
				return errors.New("a text holds a zero byte")
			}
		}
	}
	for _, p := range l.Paths {
		if p == "" || len(p) >= 4096 {
			return fmt.Errorf("a path of %d bytes is not valid", len(p))
		}
	}
	return nil
}

// giveOutput makes the write ends of a service's pipes its user's own: programs
// open /dev/stdout and /dev/stderr by name, which only the owner of a pipe may.
// Best effort: who writes to the descriptors it inherits needs nothing of this.
func giveOutput(launch int, pipes [2]int) {
	var b [4 * launchWords]byte
	if n, err := unix.Pread(launch, b[:], 0); err != nil || n != len(b) {
		return // the stub refuses such a block
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	if word(wordFlags)&flagSetUser == 0 {
		return
	}
	for _, fd := range pipes {
		if fd >= 0 {
			_ = unix.Fchown(fd, int(word(wordUID)), int(word(wordGID)))
		}
	}
}

// DecodeLaunch reads a block back. Only blocks that EncodeLaunch could have
// written are accepted.
func DecodeLaunch(b []byte) (Launch, error) {
	l, err := decodeLaunch(b)
	if err != nil {
		return Launch{}, fmt.Errorf("cannot decode launch: %w", err)
	}
	again, err := EncodeLaunch(l)
	if err != nil {
		return Launch{}, fmt.Errorf("cannot decode launch: %w", err)
	}
	if string(again) != string(b) {
		return Launch{}, errors.New("cannot decode launch: the block is not canonical")
	}
	return l, nil
}

func decodeLaunch(b []byte) (l Launch, err error) {
	if len(b) < 4*launchWords || len(b) > maxBlock {
		return l, fmt.Errorf("%d bytes", len(b))
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	groups, limits := int(word(wordGroups)), int(word(wordLimits))
	off, text := int(word(wordLimitsOff)), int(word(wordStrings))
	if word(wordMagic) != launchMagic || int(word(wordSize)) != len(b) || groups > maxGroups || limits > maxLimits ||
		off > len(b) || off < 4*(launchWords+groups) || text != off+24*limits || text > len(b) {
		return l, errors.New("the header is not valid")
	}
	l = Launch{
		Umask: word(wordUmask), SetUser: word(wordFlags)&flagSetUser != 0, UID: word(wordUID), GID: word(wordGID),
		Nice: int(int32(word(wordNice))), OOMScoreAdj: int(int32(word(wordOOM))), ReadyFD: int(word(wordFlags) >> shiftBase),
	}
	for i := range groups {
		l.Groups = append(l.Groups, word(launchWords+i))
	}
	for i := range limits {
		at := b[off+24*i:]
		l.Limits = append(l.Limits, Limit{
			int(binary.LittleEndian.Uint64(at)), binary.LittleEndian.Uint64(at[8:]), binary.LittleEndian.Uint64(at[16:]),
		})
	}
	rest := string(b[text:])
	next := func(n uint32) (list []string) {
		for ; n > 0 && err == nil; n-- {
			s, after, ok := strings.Cut(rest, "\x00")
			if !ok {
				err = errors.New("strings are missing")
				return nil
			}
			list, rest = append(list, s), after
		}
		return list
	}
	l.Paths, l.Args, l.Env = next(word(wordPaths)), next(word(wordArgs)), next(word(wordEnv))
	if dir := next(word(wordDir)); len(dir) == 1 {
		l.Dir = dir[0]
	}
	if err == nil && rest != "" {
		err = errors.New("data is left over")
	}
	return l, err
}
