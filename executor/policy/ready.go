package policy

import (
	"time"

	"supd/journal/event"
	"supd/projector"
)

// ready records that an instance is ready. Whoever says so has been executed,
// even if that was not heard yet; but not while pre_start runs: then the gate is
// closed, and it is the hook that speaks.
func (tx *Tx) ready(in Ready) {
	v, i := tx.instance(in.Service, in.Instance)
	if i == nil || !i.Awaits || i.Ready != nil || i.ExecFailed != nil || i.Running == nil && !prepared(v) {
		return
	}
	tx.executed(Executed{in.Service, in.Instance})
	tx.emit(v.Name, i.Record, event.InstanceReadyData{
		Instance: i.ID, By: clip(in.By), Took: event.Duration(tx.Now.Mono - i.Running.Mono),
	})
}

// reloading notes what a service says of itself; it stays as it is.
func (tx *Tx) reloading(in Reloading) {
	if v, i := tx.instance(in.Service, in.Instance); i != nil && i.Running != nil && i.Stop == nil {
		tx.emit(v.Name, i.Record, event.InstanceReloadingData{Instance: i.ID, By: event.ReloadByNotify})
	}
}

// MaxExtension bounds how far ahead of now a service may put a deadline of its
// start or stop, so that one that asks for for ever is still bounded (P9).
const MaxExtension = time.Hour

// extended gives an instance more time for what it is doing: its stop if it
// was asked to end, else its start. Deadlines only move away.
func (tx *Tx) extended(in Extended) {
	v, i := tx.instance(in.Service, in.Instance)
	if i == nil || i.Boot != tx.Now.Boot || in.For <= 0 {
		return
	}
	until := tx.Now.Moment().Add(min(in.For, MaxExtension))
	d := event.InstanceExtendedData{Instance: i.ID, Of: event.ExtendStart, Deadline: until}
	if o := i.Stop; o != nil {
		if o.Killed != nil || o.Signal == event.Kill || tx.Now.Mono >= o.Deadline.Mono || until.Mono <= o.Deadline.Mono {
			return
		}
		d.Of = event.ExtendStop
	} else if deadline, due := startDeadline(v); !due || until.Mono <= deadline {
		return
	}
	tx.emit(v.Name, i.Record, d)
}

// health records a change, and ends an instance that is unhealthy if that is
// what the service wants.
func (tx *Tx) health(in Health) {
	v, i := tx.instance(in.Service, in.Instance)
	if i == nil || i.Stop != nil || !i.IsReady() || v.Spec.Health == nil || i.Health == in.To {
		return
	}
	from := i.Health
	if from == "" {
		from = event.HealthUnknown
	}
	r := tx.emit(v.Name, i.Record, event.HealthChangedData{
		Instance: i.ID, Probe: clip(in.Probe), From: from, To: in.To, Failures: in.Failures, Error: clip(in.Error),
	})
	if in.To == event.Unhealthy && v.Spec.Health.Action == event.HealthRestart {
		tx.stop(v, event.ReasonHealth, r.ID)
	}
}

func (tx *Tx) watchdogMissed(in WatchdogMissed) {
	if v, i := tx.instance(in.Service, in.Instance); i != nil && v.Spec.Watchdog > 0 && i.IsReady() {
		tx.stop(v, event.ReasonWatchdog, i.Record)
	}
}

// startDeadline is the moment of the boot clock at which the start of an
// instance has taken too long: start_timeout bounds pre_start and execution,
// ready.timeout what comes after. due is false once it is up, and when it was
// asked to end.
func startDeadline(v *projector.Service) (mono int64, due bool) {
	i := v.Instance
	switch {
	case i == nil || i.Stop != nil || i.ExecFailed != nil || i.IsReady():
		return 0, false
	case i.Running == nil:
		mono = i.Started.Mono + int64(orDefault(v.Spec.StartTimeout, event.DefaultStartTimeout))
	case v.Spec.Ready == nil: // a configuration took it away: it is about to be restarted
		return 0, false
	default:
		mono = i.Running.Mono + int64(orDefault(v.Spec.Ready.Timeout, event.DefaultReadyTimeout))
	}
	if i.Extended != nil {
		mono = max(mono, i.Extended.Mono)
	}
	return mono, true
}

func orDefault(d event.Duration, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return time.Duration(d)
}

// startOverdue ends an instance whose start has taken too long; it counts as
// one that failed.
func (tx *Tx) startOverdue(v *projector.Service) {
	if deadline, due := startDeadline(v); due && v.Instance.Boot == tx.Now.Boot && tx.Now.Mono >= deadline {
		tx.stop(v, event.ReasonStartTimeout, v.Instance.Record)
	}
}
