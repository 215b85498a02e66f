package output

import (
	"fmt"
	"os"
)

// scan learns what the folder holds of all services, running or not, for the
// total limit, and gives back what a killed logger had reserved.
func (l *Logger) scan() {
	entries, err := os.ReadDir(l.dir)
	if err != nil && !os.IsNotExist(err) {
		l.emit(KindPressed, "", Pressed{What: "disk", Limit: fmt.Sprintf("cannot read the output folder: %v", err)})
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		for _, name := range []string{Stdout, Stderr} {
			s := newStream(l, e.Name(), name)
			dropTemps(s.dir, name)
			if err := s.load(); err != nil {
				l.emit(KindPressed, e.Name(), Pressed{What: "disk", Limit: fmt.Sprintf("cannot read output: %v", err)})
				continue
			}
			if s.n == 1 && s.size == 0 && len(s.closed) == 0 {
				continue
			}
			if f, err := openFile(activePath(s.dir, name), os.O_RDWR); err == nil {
				giveBack(f)
				f.Close()
			}
			l.streams[e.Name()+"/"+name] = s
		}
	}
	l.totalDue = true
}

// recount tells the gaps that a killed logger had counted.
func (l *Logger) recount() {
	t, left, err := openTally(l.opts.Tally)
	if err != nil {
		l.emit(KindPressed, "", Pressed{What: "disk", Limit: err.Error()})
	}
	for _, c := range left {
		l.emit(KindGap, c.Service, c.Gap)
	}
	t.clearAll()
	l.tally = t
}
