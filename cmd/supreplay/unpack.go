package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"supd/cmd/internal/exitcode"
)

// Bounds of a bundle, which may come from anybody: what is in it in total, and
// how many files. One that grows to more than freeBundle must not grow to more
// than maxGrowth times its size, so that a small file does not fill the disk.
const (
	maxBundle      = 16 << 30
	maxBundleFiles = 100_000
	freeBundle     = 256 << 20
	maxGrowth      = 100
)

// openBundle opens a state folder that is in a tar archive, plain or packed
// with gzip or zstd, as its root or in the one folder at its root. It is
// unpacked to a temporary folder that close removes.
func openBundle(file string, notes io.Writer) (*source, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &coded{exitcode.Failed, fmt.Errorf("cannot open bundle: %w", err)}
	}
	defer f.Close()
	dir, err := makeTemp()
	if err != nil {
		return nil, &coded{exitcode.Failed, fmt.Errorf("cannot unpack bundle %s: %w; set TMPDIR to a folder with room", file, err)}
	}
	src, err := unpackSource(f, room(f), dir, notes)
	if err != nil {
		removeTemp(dir)
		return nil, &coded{exitcode.Failed, fmt.Errorf("cannot open bundle %s: %w", file, err)}
	}
	src.name, src.temp = file, append(src.temp, dir)
	return src, nil
}

// room is how much a bundle may hold.
func room(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil {
		return freeBundle
	}
	return min(maxBundle, max(freeBundle, info.Size()*maxGrowth))
}

func unpackSource(f io.Reader, room int64, dir string, notes io.Writer) (*source, error) {
	plain, done, err := unpacked(f)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := unpack(plain, room, dir); err != nil {
		return nil, err
	}
	folder := dir
	if names, err := os.ReadDir(dir); err == nil && len(names) == 1 && names[0].IsDir() && names[0].Name() != "journal" {
		folder = filepath.Join(dir, names[0].Name())
	}
	return openFolder(folder, notes)
}

// unpacked looks at the first bytes: names of files say nothing.
func unpacked(f io.Reader) (plain io.Reader, done func(), err error) {
	b := bufio.NewReaderSize(f, 64<<10)
	head, _ := b.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		return z, func() {}, err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return b, func() {}, nil
}

// unpack writes folders and plain files below dir and nothing else: links and
// devices have no place in a state folder, and no name leads out of it.
func unpack(r io.Reader, left int64, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case err != nil:
			return fmt.Errorf("it is no tar archive of a state folder: %w", err)
		case n == maxBundleFiles:
			return fmt.Errorf("it has more than %d files", maxBundleFiles)
		case h.Typeflag == tar.TypeDir:
			continue // made where a file is in it
		case h.Typeflag != tar.TypeReg:
			continue
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("%q in it leads out of it", h.Name)
		}
		name := path.Clean(h.Name)
		if !wanted(name) {
			continue
		}
		written, err := unpackFile(root, name, archive, left)
		if err != nil {
			return err
		}
		left -= written
	}
}

// wanted is what of a state folder is read: not its run-time files, and not
// the values of applied configurations, which are secret.
func wanted(name string) bool {
	return name != "." && !strings.Contains("/"+name, "/applied/")
}

func unpackFile(root *os.Root, name string, from io.Reader, left int64) (int64, error) {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return 0, err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return 0, fmt.Errorf("%s is in it twice", name)
	}
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, io.LimitReader(from, left+1))
	if n > left {
		err = errors.New("it holds far more than a state folder of its size would")
	}
	return n, errors.Join(err, f.Close())
}
