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
// # Phase × event
//
// What the event writes in each phase; the order is that of the records. The
// column wanted is stopped with want up, before its stub is parked; ending is
// stopping after the main process is gone, while its tree is being ended. A
// test compares each cell with what Decide does.
//
//	             stopped  wanted  starting  running  stopping  ending  backoff  exited  fatal  stuck
//	start        U        ·       ·         =        U         ·       C        U       U      U
//	stop         =        D       DS        DS       ·         D       DC       =       =      ·
//	restart      U        ·       S         S        U         ·       C        U       U      U
//	signal       !        !       !         m        m         !       !        !       !      m
//	reload       !        !       !         m        m         !       !        !       !      m
//	parked       d        G       d         d        d         d       d        d       d      d
//	park failed  ·        FB      ·         ·        ·         ·       ·        ·       ·      ·
//	executed     ·        ·       R         ·        ·         ·       ·        ·       ·      ·
//	exec failed  ·        ·       F         ·        ·         ·       ·        ·       ·      ·
//	exited       ·        ·       XB        XB       X         ·       ·        ·       ·      X
//	signaled     ·        ·       ·         ·        M         ·       ·        ·       ·      ·
//	tree empty   ·        ·       ·         ·        ·         WB      ·        ·       ·      ·
//	swept        ·        ·       ·         ·        ·         WB      ·        ·       ·      ·
//	adopted      ·        ·       AR        A        A         ·       ·        ·       ·      A
//	lost         ·        ·       XB        XB       X         ·       ·        ·       ·      X
//	forgotten    ·        ·       a         a        a         ·       ·        ·       ·      a
//	deadline     ·        ·       ·         ·        k         ·       p        ·       ·      ·
//	changed      L        L       LS        LS       L         L       L        L       L      L
//	removed      O        DO      DSO       DSO      O         DO      DCO      O       O      O
//	shutdown     ·        ·       S         S        ·         ·       C        ·       ·      ·
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
//	O  service.removed
//	a  the keeper is asked to adopt       d  the stub is dropped
//	k  duty: KILL to the tree             m  duty: the command's signal
//	p  duty: park a stub
//
// After an exit, or when its tree has ended, want, stop order and policy say
// what follows: rest, restart.scheduled or service.fatal; the transcripts in
// testdata show each.
package policy
