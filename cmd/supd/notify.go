package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"supd/executor"
	"supd/journal/event"
	"supd/projector"
)

// notifier tells the service manager that started supd how it fares, in the
// protocol of sd_notify: READY=1 when the configuration is applied, STATUS,
// STOPPING=1, and WATCHDOG=1 for as long as the engine's loop answers. It
// speaks for the keeper, whose pid the manager knows, so the manager has to
// accept messages of all processes (NotifyAccess=all). A nil notifier is one
// that nobody listens to.
type notifier struct {
	address  *net.UnixAddr
	watchdog time.Duration // how often to say that all is well; 0: nobody asked
	log      *slog.Logger
	messages chan string   // bounded; what does not fit is dropped: a newer one follows
	changed  chan struct{} // the state has moved since the last status

	// The loop's goroutine's own.
	seen     event.Seq
	stopping bool
}

const (
	notifySend  = time.Second // the longest that one message may wait for the manager
	statusEvery = time.Second // the shortest time between two statuses
)

// newNotifier reads what the manager asked for from the environment.
func newNotifier(env func(string) string, keeper int, log *slog.Logger) *notifier {
	name := env("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if name[0] != '/' && name[0] != '@' {
		log.Warn("cannot tell the service manager anything: NOTIFY_SOCKET is no unix socket", "socket", name)
		return nil
	}
	n := &notifier{
		address: &net.UnixAddr{Name: name, Net: "unixgram"}, log: log,
		messages: make(chan string, 16), changed: make(chan struct{}, 1),
	}
	us, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64)
	whose := env("WATCHDOG_PID")
	if err == nil && us > 0 && (whose == "" || whose == strconv.Itoa(keeper)) {
		n.watchdog = time.Duration(us) * time.Microsecond / 2
	}
	return n
}

// start lets it speak, until the process ends.
func (n *notifier) start(loop *executor.Loop) {
	if n == nil {
		return
	}
	go n.speak()
	go n.statuses(loop)
	if n.watchdog > 0 {
		go n.watch(loop)
	}
}

// ready tells that services are supervised. It is called on the loop's
// goroutine, as is look.
func (n *notifier) ready(keeper int, s *projector.State) {
	if n != nil {
		n.say(fmt.Sprintf("MAINPID=%d\nREADY=1\nSTATUS=%s", keeper, statusText(s)))
	}
}

// look notices what the manager should hear of.
func (n *notifier) look(s *projector.State) {
	if n == nil || s.Seq() == n.seen {
		return
	}
	n.seen = s.Seq()
	if s.Supd.Stopping != nil && !n.stopping {
		n.stopping = true
		n.say("STOPPING=1\nSTATUS=stopping")
	}
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

func (n *notifier) say(message string) {
	select {
	case n.messages <- message:
	default:
	}
}

// speak sends the messages. One that the manager does not take is given up.
func (n *notifier) speak() {
	for failed := false; ; {
		err := n.send(<-n.messages)
		if err != nil && !failed {
			n.log.Warn("cannot tell the service manager how supd fares", "error", err)
		}
		failed = err != nil
	}
}

func (n *notifier) send(message string) error {
	conn, err := net.DialUnix("unixgram", nil, n.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(notifySend)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(message))
	return err
}

// statuses tells of changes, not more often than people read.
func (n *notifier) statuses(loop *executor.Loop) {
	for last := ""; ; time.Sleep(statusEvery) {
		<-n.changed
		var text string
		err := loop.View(context.Background(), func(s *projector.State, _ event.Seq) { text = statusText(s) })
		if err != nil {
			return
		}
		if text != last {
			n.say("STATUS=" + text)
			last = text
		}
	}
}

// watch says that all is well while the loop answers in time.
func (n *notifier) watch(loop *executor.Loop) {
	for range time.Tick(n.watchdog) {
		ctx, cancel := context.WithTimeout(context.Background(), n.watchdog)
		err := loop.View(ctx, func(*projector.State, event.Seq) {})
		cancel()
		if err == nil {
			n.say("WATCHDOG=1")
		}
	}
}

// statusText is what `systemctl status` shows.
func statusText(s *projector.State) string {
	if s.Supd.Stopping != nil {
		return "stopping"
	}
	var up, wanted, fatal int
	for _, v := range s.Services {
		if v.Removed {
			continue
		}
		if v.Want == event.Up {
			wanted++
			if v.Phase == event.PhaseRunning {
				up++
			}
		}
		if v.Phase == event.PhaseFatal {
			fatal++
		}
	}
	parts := []string{fmt.Sprintf("%d of %d wanted services run", up, wanted)}
	if fatal > 0 {
		parts = append(parts, fmt.Sprintf("%d given up", fatal))
	}
	if s.Supd.Degraded {
		parts = append(parts, "the journal does not take records")
	}
	return strings.Join(parts, ", ")
}
