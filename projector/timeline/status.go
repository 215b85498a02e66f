package timeline

import (
	"fmt"
	"maps"
	"slices"

	"supd/journal/event"
	"supd/projector"
)

// Status is every service of the state as people see it, sorted by name.
func Status(s *projector.State) []event.ServiceStatus {
	out := make([]event.ServiceStatus, 0, len(s.Services))
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		out = append(out, ServiceStatus(s.Services[name]))
	}
	return out
}

// ServiceStatus is one service. What is absent is nil, never 0.
func ServiceStatus(v *projector.Service) event.ServiceStatus {
	st := event.ServiceStatus{
		Name: v.Name, Want: v.Want, State: v.Phase, Restarts: v.Restarts, Retries: v.Retries, Reason: reason(v),
	}
	if v.Run > 0 {
		st.Run = &v.Run
	}
	if i := v.Instance; i != nil {
		started := i.Started.Wall
		ready := i.IsReady() && i.Stop == nil
		st.PID, st.Instance, st.StartedAt, st.Ready = &i.PID, &i.ID, &started, &ready
	}
	if n := v.NextStart; n != nil {
		st.NextStart = &n.At.Wall
	}
	if n := len(v.Pending); n > 0 {
		st.Pending = &v.Pending[n-1]
	}
	if x := v.LastExit; x != nil {
		st.LastExit = &event.LastExit{Code: x.Code, Signal: x.Signal, At: x.At.Wall, Cause: x.Cause}
	}
	return st
}

// reason says why a service is where it is, if its state alone does not.
func reason(v *projector.Service) *string {
	text := ""
	switch {
	case v.Phase == event.PhaseFatal:
		text = v.Fatal
	case v.Phase == event.PhaseStuck && v.Instance.Stop.Killed == nil:
		text = "SIGKILL is due, and nobody tells that it was sent; it is not replaced while it lives"
	case v.Phase == event.PhaseStuck:
		text = "killed and not dead; it is not replaced while it lives"
	case v.Hook != nil:
		text = "the hook " + v.Hook.Name + " runs"
	case v.Phase == event.PhaseWaiting:
		text = waitText(v.Waiting)
	case v.Phase == event.PhaseStarting && v.Instance.Running != nil:
		text = "it runs and is not ready yet"
	case v.Phase == event.PhaseRunning && v.Want == event.Down:
		text = "it ends when those that depend on it are gone"
	case v.Phase == event.PhaseRunning && v.Instance.Health == event.Unhealthy:
		text = "unhealthy"
	case v.Instance != nil && v.Instance.Stop != nil:
		text = fmt.Sprintf("%s sent because of %s", v.Instance.Stop.Signal, v.Instance.Stop.Reason)
	case v.Tree != nil:
		text = "ending what its main process left behind" + v.LastExit.Hint()
		if left := v.Tree.Left; len(left) > 0 {
			text = "what its main process left behind survives KILL: " + processes(left) + "; it goes on when that has ended"
		}
	case v.Phase == event.PhaseBackoff && v.Failure != nil:
		text = v.Failure.Text()
	case v.Phase == event.PhaseBackoff && v.LastExit != nil && !v.LastExit.Ran:
		text = v.LastExit.FailureText()
	case v.Phase == event.PhaseBackoff && v.LastExit != nil && projector.Failing(v.LastExit.Stop):
		text = failedText(v.LastExit, v.Spec)
	case v.Phase == event.PhaseBackoff && v.LastExit != nil:
		text = ExitText(v.LastExit.Code, v.LastExit.Signal) + v.LastExit.Hint()
	case v.Phase == event.PhaseExited && v.LastExit != nil && !v.LastExit.Expected:
		text = endedText(v.LastExit)
	case v.Phase == event.PhaseExited:
		text = "completed"
	}
	if text == "" {
		return nil
	}
	return &text
}

// failedText says for what failure supd ended an instance whose program ran: the
// signal of the end was supd's own and tells nothing.
func failedText(x *projector.LastExit, spec event.Spec) string {
	switch {
	case x.Stop == event.ReasonStartTimeout && spec.Ready != nil:
		return fmt.Sprintf("was not ready within %s (%s)", limit(spec.Ready.Timeout, event.DefaultReadyTimeout), awaited(*spec.Ready))
	case x.Stop == event.ReasonHealth && spec.Health != nil:
		return fmt.Sprintf("unhealthy: its health check failed (%s)", probed(spec.Health.Probe))
	case x.Stop == event.ReasonHealth:
		return "unhealthy: its health check failed"
	case x.Stop == event.ReasonWatchdog:
		return "was silent for longer than its watchdog allows"
	}
	return x.FailureText()
}

// endedText says how a service ended that is not started again and did not
// succeed.
func endedText(x *projector.LastExit) string {
	switch {
	case x.Signal != nil:
		return "ended by " + *x.Signal
	case x.Code != nil:
		return fmt.Sprintf("exited with code %d", *x.Code)
	}
	return "it ended, and nobody knows how"
}

// waitText says what a service waits for, or what went wrong with that.
func waitText(w *projector.Waiting) string {
	if w.Failed != "" {
		return w.Failed
	}
	return "waits " + waiting(event.ServiceWaitingData{For: w.For, Limiter: w.Limiter})
}

// ExitText says how something ended: "exit 1", "SIGKILL", "unknown".
func ExitText(code *int, signal *string) string {
	switch {
	case signal != nil:
		return *signal
	case code != nil:
		return fmt.Sprintf("exit %d", *code)
	}
	return "unknown"
}
