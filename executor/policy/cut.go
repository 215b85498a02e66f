package policy

import (
	"maps"
	"slices"
	"time"

	"supd/journal/event"
	"supd/projector"
)

// Why output is perhaps lost, as people read it.
const (
	cutUnseen = "it ended while nobody of supd lived; what it wrote last was in its pipe"
	cutEnding = "all of supd was killed within a second after it ended; what was not read yet was in its pipe"
	cutReboot = "the machine stopped while it ran, or the state folder was copied; what was in its pipe, or not on the disk yet, went with it"
)

// cutWindow is how long after an exit its output counts as perhaps not read when
// all of supd is killed. It is read within milliseconds unless the disk hangs.
const cutWindow = time.Second

// cutOutputs declares what may have been in the pipes of services that had ended
// just before all of supd was killed (P3, P4): nobody is left who read them.
func (tx *Tx) cutOutputs(heard int64) {
	for _, name := range slices.Sorted(maps.Keys(tx.State.Services)) {
		v := tx.State.Services[name]
		x := v.LastExit
		if x == nil || x.Boot != tx.Now.Boot {
			continue
		}
		// The one before it may not have been read either, and no third one (R7).
		for _, d := range tx.State.Deaths(name) {
			at := time.UnixMilli(d.At)
			mono := x.At.Mono - int64(x.At.Wall.Sub(at)) // of another boot it is far away
			if d.Instance != "" && d.Instance != x.Instance && (heard == 0 || mono >= heard-int64(cutWindow)) {
				tx.cutOutput(v, d.Instance, d.Record, at, cutEnding)
			}
		}
		if x.Ran && (heard == 0 || x.At.Mono >= heard-int64(cutWindow)) {
			tx.cutOutput(v, x.Instance, x.Record, x.At.Wall, cutEnding)
		}
	}
}

// cutOutput declares a gap of unknown size in each captured stream of an instance.
func (tx *Tx) cutOutput(v *projector.Service, instance, cause string, from time.Time, why string) {
	if !v.Spec.CaptureOutput {
		return
	}
	streams := []string{"stdout", "stderr"}
	if v.Spec.MergeStderr {
		streams = streams[:1]
	}
	for _, stream := range streams {
		tx.emit(v.Name, cause, event.OutputGapData{Stream: stream, Instance: instance, From: from, To: tx.Now.Wall, Reason: why})
	}
}
