package output

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// packRest is how many times as long as it worked the compressor rests: it
// takes a fifth of one CPU and no more. A lower scheduling priority would be
// worse: on a busy machine the runtime and the drainer would wait for a thread
// that does not get to run.
const packRest = 4

// packJob is one step of the compression of one closed segment. The steps that
// take time, and may hang with the disk, are the compressor's; names change on
// Run's goroutine alone, which also trims: so a segment that is trimmed while
// it is being compressed does not come back.
type packJob struct {
	s      *stream
	n      uint64
	settle bool // the compressed file has its name: make that durable
}

// packTemp is where a compressed segment grows. Like an index it does not
// match "stdout.log*".
func packTemp(dir, stream string, n uint64) string {
	return filepath.Join(dir, stream+".tmp."+strconv.FormatUint(n, 10))
}

// dropTemps removes what a killed logger had not finished to compress.
func dropTemps(dir, stream string) {
	left, _ := filepath.Glob(filepath.Join(dir, stream+".tmp.*"))
	for _, path := range left {
		if _, ok := numbered(filepath.Base(path), stream+".tmp."); ok {
			_ = os.Remove(path)
		}
	}
}

// packNext gives the compressor its next job, if it is idle: first what is
// half done, then the oldest.
func (l *Logger) packNext(now time.Time) {
	if l.packing || now.Before(l.packAfter) {
		return
	}
	l.packDue = false
	var job packJob
	var oldest time.Time
	for _, s := range l.streams {
		if _, known := l.settings[s.service]; !known || s.trouble != nil {
			continue
		}
		for _, c := range s.closed {
			if !c.plain || c.left || !c.packed && s.set.Compress != CompressGzip {
				continue
			}
			if job.s == nil || c.packed && !job.settle || c.packed == job.settle && c.newest.Before(oldest) {
				job, oldest = packJob{s, c.n, c.packed}, c.newest
			}
		}
	}
	if job.s != nil {
		l.packing = true
		l.packs <- job // has room for the one that there is
	}
}

// packLoop is the compressor: one job at a time.
func (l *Logger) packLoop(ctx context.Context) {
	defer close(l.packed)
	for job := range l.packs {
		err := ctx.Err()
		if err == nil && job.settle {
			err = syncFolder(job.s.dir)
			l.step("folder synced")
		} else if err == nil {
			err = l.packSegment(ctx, job)
		}
		if l.do(func() { l.packDone(job, err) }) != nil && !job.settle {
			_ = os.Remove(packTemp(job.s.dir, job.s.name, job.n))
		}
	}
}

// packSegment writes the temporary file and syncs it.
func (l *Logger) packSegment(ctx context.Context, job packJob) (err error) {
	dir, name := job.s.dir, job.s.name
	src, err := openRegular(closedPath(dir, name, job.n))
	if err != nil {
		return err
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := openFile(packTemp(dir, name, job.n), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, dst.Close())
		if err != nil {
			_ = os.Remove(dst.Name())
		}
	}()
	l.step("temporary file made")
	err = pack(ctx, dst, src, st.Size(), func(took time.Duration) {
		l.step("member written")
		select {
		case <-ctx.Done():
		case <-time.After(packRest * took):
		}
	})
	if err == nil {
		err = dst.Sync()
	}
	if err == nil {
		// Times are what retention and "since" go by.
		err = os.Chtimes(dst.Name(), st.ModTime(), st.ModTime())
	}
	l.step("temporary file synced")
	return err
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// packDone takes what the compressor has done.
func (l *Logger) packDone(job packJob, err error) {
	l.packing, l.packDue = false, true
	s := job.s
	var c *closedSegment
	for i := range s.closed {
		if s.closed[i].n == job.n {
			c = &s.closed[i]
		}
	}
	temp := packTemp(s.dir, s.name, job.n)
	switch {
	case c == nil: // trimmed meanwhile
		if err == nil && !job.settle {
			_ = os.Remove(temp)
		}
		return
	case err == nil && !job.settle:
		if err = os.Rename(temp, packedPath(s.dir, s.name, job.n)); err == nil {
			l.step("compressed file renamed")
		}
	case err == nil:
		if err = os.Remove(closedPath(s.dir, s.name, job.n)); err == nil {
			l.step("plain file removed")
		}
	}
	if err == nil {
		var now closedSegment
		if now, err = statClosed(s.dir, s.name, job.n); err == nil {
			*c, l.totalDue = now, true
		}
	}
	if err != nil {
		l.packFailed(job, c, err)
	}
}

// packFailed leaves a segment plain: for now if the disk is full, else until
// the next logger looks at it.
func (l *Logger) packFailed(job packJob, c *closedSegment, err error) {
	l.packAfter = time.Now().Add(sweepEvery)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, context.Canceled) {
		return
	}
	c.left, l.packAfter = true, time.Time{}
	if errors.Is(err, fs.ErrNotExist) {
		return // someone else took it: nothing of ours is wrong
	}
	l.emit(KindPressed, job.s.service, Pressed{
		What: "disk", Limit: fmt.Sprintf("cannot compress output, it stays as it is: %v", err),
	})
}

// packedPath is the name of a compressed segment.
func packedPath(dir, stream string, n uint64) string {
	return closedPath(dir, stream, n) + packedSuffix
}

const packedSuffix = ".gz"

// packedNumber is numbered for the name of a compressed segment.
func packedNumber(name, prefix string) (uint64, bool) {
	plain, ok := strings.CutSuffix(name, packedSuffix)
	if !ok {
		return 0, false
	}
	return numbered(plain, prefix)
}
