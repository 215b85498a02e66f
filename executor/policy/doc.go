// Package policy decides. Given the state and one input, Decide writes the
// records that follow, and Duties says what the state demands of the world:
//
//	tx := policy.NewTx(state, now, rand, mint)
//	policy.Decide(tx, input)          // tx.Records: append them to the journal
//	for each service touched:         // then, and only then, act
//		policy.Duties(state, service, now)
//
// Decisions are records: a replay applies them and decides nothing (P6). So
// everything a decision needs of time and chance comes in with the Tx, and
// the package reads no clock, draws no chance and does no I/O.
//
// Duties are a function of the state, not of the input. An engine that died
// between a record and its act finds the duty again in the state; keeper
// operations carry names and are carried out once (R3, R4), so doing a duty
// again is safe. That leaves few cases for recovery; they are the numbered
// table in recovery.go.
//
// # Dependencies
//
// A service waits for what it requires, wants or comes after, each for a
// condition: started, ready or completed. Requires and wants also pull: a
// start wants up what is down of them, all the way. What does not depend on
// each other starts in parallel; each starts at the moment its last condition
// holds (depend.go). After alone orders only what is to be up anyway. Three
// choices were made as systemd makes them, because people know them:
//
//   - A stop that somebody asked for stops who requires the service first, and
//     who merely comes after it where both are to end: an order is reversed.
//     The others end when they are gone, not before.
//   - A crash or a restart of what is required leaves those that require it
//     running (P7). When they start the next time they wait for it.
//   - A service that fails to start is not waited for by those that only want
//     it or come after it. Those that require it wait as long as supd tries,
//     and the person who waits for them is told at once; when supd gives up,
//     they are fatal too, by reason of the requirement.
//
// Starting one of two in conflict stops the other first. Dependencies in a
// circle wait for nobody within it; a configuration with one is refused before
// it comes here (event.Graph).
//
// A oneshot is completed when it exits with success, whatever its restart says;
// the rest of its policy is about failures. Completed holds until it is wanted
// anew, which neither an apply does nor a start of what is wanted up already, or
// until the machine boots: then those with autostart run again.
//
// # Readiness, health, hooks
//
// With ready an instance is starting until it says so; start_timeout bounds it
// until its program is executed, ready.timeout from there on. What supd ends
// because it was not ready in time, unhealthy, silent (watchdog) or not
// prepared (pre_start) has failed like what crashed: it goes to backoff. It was
// stable only if it was good for longer than finding out takes, so that a
// service that is never healthy does not restart without a pause for ever.
//
// A start that the machine has no resources for (EAGAIN, ENOMEM, ENFILE, EMFILE
// before there was an instance) says nothing about the service: it is put off
// for a second at most, again and again, and uses up no retry. KILL that nobody
// answers makes an instance stuck as well as KILL that does not end it, so that
// nothing waits for it for ever.
//
// Hooks are authorised by hook.started, run under an operation's name at most
// once (R4), and never overlap in one service. The gate opens after pre_start;
// the signal of a stop goes after pre_stop, and its time begins with it; no
// instance starts before post_stop of the one before has ended. A hook of which
// nothing is heard ends as failed, so that nothing hangs on it; one that was in
// the hands of a keeper that is gone is in doubt (row 13).
//
// # Phase × event
//
// What the event writes in each phase; the order is that of the records. The
// column wanted is stopped with want up, before its stub is parked; readying is
// starting with the program executed; ending is stopping after the main process
// is gone, while its tree is being ended; hooked the same while post_stop runs.
// A test compares each cell with what Decide does.
//
//	                 stopped  wanted  waiting  starting  readying  running  stopping  ending  hooked  backoff  exited  fatal  stuck
//	start            U        ·       ·        ·         ·         =        U         ·       ·       C        U       U      U
//	stop             =        D       D        DS        DS        DS       ·         D       D       DC       =       =      ·
//	restart          U        ·       ·        S         S         S        U         ·       ·       C        U       U      U
//	signal           !        !       !        !         m         m        m         !       !       !        !       !      m
//	reload           !        !       !        !         m         m        m         !       !       !        !       !      m
//	parked           d        G       d        d         d         d        d         d       d       d        d       d      d
//	park failed      ·        FB      ·        ·         ·         ·        ·         ·       ·       ·        ·       ·      ·
//	executed         ·        ·       ·        R         ·         ·        ·         ·       ·       ·        ·       ·      ·
//	exec failed      ·        ·       ·        F         ·         ·        ·         ·       ·       ·        ·       ·      ·
//	exited           ·        ·       ·        XB        XB        XB       X         ·       ·       ·        ·       ·      X
//	signaled         ·        ·       ·        ·         ·         ·        M         ·       ·       ·        ·       ·      ·
//	tree empty       ·        ·       ·        ·         ·         ·        ·         WB      ·       ·        ·       ·      ·
//	swept            ·        ·       ·        ·         ·         ·        ·         WB      ·       ·        ·       ·      ·
//	adopted          ·        ·       ·        AR        A         A        A         ·       ·       ·        ·       ·      A
//	followed         ·        ·       ·        AR        A         A        A         ·       ·       ·        ·       ·      A
//	lost             ·        ·       ·        XB        XB        XB       X         ·       ·       ·        ·       ·      X
//	forgotten        ·        ·       ·        a         a         a        a         ·       ·       ·        ·       ·      a
//	ready            ·        ·       ·        ·         Y         ·        ·         ·       ·       ·        ·       ·      ·
//	reloading        ·        ·       ·        ·         V         V        ·         ·       ·       ·        ·       ·      ·
//	extended         ·        ·       ·        N         N         ·        N         ·       ·       ·        ·       ·      ·
//	health           ·        ·       ·        ·         ·         HS       ·         ·       ·       ·        ·       ·      ·
//	watchdog missed  ·        ·       ·        ·         ·         S        ·         ·       ·       ·        ·       ·      ·
//	hook ended       ·        ·       ·        ·         ·         ·        ·         ·       EB      ·        ·       ·      ·
//	deadline         ·        ·       ·        ·         ·         ·        k         ·       ·       p        ·       ·      ·
//	changed          L        L       L        LS        LS        LS       L         L       L       L        L       L      L
//	removed          O        DO      DO       DSO       DSO       DSO      O         DO      DO      DCO      O       O      O
//	shutdown         ·        ·       ·        S         S         S        ·         ·       ·       C        ·       ·      ·
//
//	·  nothing about the service          =  the command ends: unchanged
//	!  the command ends: refused          U  service.wanted up
//	D  service.wanted down                C  restart.cancelled
//	G  instance.starting: the gate opens  R  instance.running
//	F  instance.exec-failed               S  instance.stopping: the signal goes
//	M  instance.signaled                  X  instance.exited
//	W  instance.swept                     T  instance.stuck
//	A  instance.adopted                   B  restart.scheduled
//	Z  service.fatal                      L  service.defined
//	O  service.removed                    Q  service.waiting
//	Y  instance.ready                     V  instance.reloading
//	N  instance.extended                  H  health.changed
//	P  hook.started                       E  hook.ended
//	a  the keeper is asked to adopt       d  the stub is dropped
//	k  duty: KILL to the tree             m  duty: the command's signal
//	p  duty: park a stub
//
// After an exit, or when its tree has ended, want, stop order and policy say
// what follows: rest, restart.scheduled or service.fatal; the transcripts in
// testdata show each.
package policy
