package event

import (
	"encoding/json"
	"reflect"
	"sort"
	"strings"
)

// Kind names what a record says: <group>.<what>. On the wire it is the
// CloudEvents type supd.<group>.<what>.v1.
type Kind string

// The kinds of this version. What each means and which phase follows it is
// written at its data type.
const (
	EngineStarted      Kind = "engine.started"
	KeeperStarted      Kind = "keeper.started"
	LoggerStarted      Kind = "logger.started"
	SupdStopping       Kind = "supd.stopping"
	SupdStopped        Kind = "supd.stopped"
	RecoverySettled    Kind = "recovery.settled"
	StateBase          Kind = "state.base"
	CommandAccepted    Kind = "command.accepted"
	CommandEnded       Kind = "command.ended"
	CommandRejected    Kind = "command.rejected"
	AccessDenied       Kind = "access.denied"
	ConfigApplied      Kind = "config.applied"
	ConfigRejected     Kind = "config.rejected"
	ServiceDefined     Kind = "service.defined"
	ServiceRemoved     Kind = "service.removed"
	ServiceWanted      Kind = "service.wanted"
	ServiceFatal       Kind = "service.fatal"
	InstanceStarting   Kind = "instance.starting"
	InstanceRunning    Kind = "instance.running"
	InstanceExecFailed Kind = "instance.exec-failed"
	InstanceReloading  Kind = "instance.reloading"
	InstanceStopping   Kind = "instance.stopping"
	InstanceSignaled   Kind = "instance.signaled"
	InstanceExited     Kind = "instance.exited"
	InstanceStuck      Kind = "instance.stuck"
	InstanceSwept      Kind = "instance.swept"
	InstanceAdopted    Kind = "instance.adopted"
	RestartScheduled   Kind = "restart.scheduled"
	RestartCancelled   Kind = "restart.cancelled"
	OutputGap          Kind = "output.gap"
	OutputTrimmed      Kind = "output.trimmed"
	JournalDegraded    Kind = "journal.degraded"
	JournalHealed      Kind = "journal.healed"
	JournalGap         Kind = "journal.gap"
	ResourcePressed    Kind = "resource.pressed"
	ResourceRelieved   Kind = "resource.relieved"
	ServiceWaiting     Kind = "service.waiting"
	InstanceReady      Kind = "instance.ready"
	InstanceExtended   Kind = "instance.extended"
	HealthChanged      Kind = "health.changed"
	HookStarted        Kind = "hook.started"
	HookEnded          Kind = "hook.ended"
	JournalDamaged     Kind = "journal.damaged"
	JournalCheckpoint  Kind = "journal.checkpoint"
	UpgradeStarted     Kind = "upgrade.started"
	UpgradeEnded       Kind = "upgrade.ended"
)

const (
	typePrefix = "supd."
	typeSuffix = ".v1"
)

// Type is the CloudEvents type of the kind.
func (k Kind) Type() string { return typePrefix + string(k) + typeSuffix }

// Group is the part of a kind before the dot.
func (k Kind) Group() string { g, _, _ := strings.Cut(string(k), "."); return g }

// What is the part of a kind behind the dot.
func (k Kind) What() string { _, w, _ := strings.Cut(string(k), "."); return w }

// Kinds lists every kind of this version in alphabetical order.
func Kinds() []Kind {
	ks := make([]Kind, 0, len(codecs))
	for k := range codecs {
		ks = append(ks, k)
	}
	sort.Slice(ks, func(i, j int) bool { return ks[i] < ks[j] })
	return ks
}

func kindOfType(t string) (Kind, bool) {
	if k := types[t]; k != nil {
		return k.kind, true
	}
	return "", false
}

// known is a kind of this version, and how its data is read.
type known struct {
	kind   Kind
	decode func(json.RawMessage) (Data, error)
	plan   plan // nil if only decode can read it
}

// types are the known kinds by what records call them.
var types = func() map[string]*known {
	all := make(map[string]*known, len(codecs))
	for k, c := range codecs {
		all[k.Type()] = &known{kind: k, decode: c.decode, plan: plans[k]}
	}
	return all
}()

// codec is how the data of a kind is read.
type codec struct {
	data   reflect.Type
	decode func(json.RawMessage) (Data, error) // takes whatever JSON allows
	plan   func(read) plan
}

func of[T Data]() codec {
	return codec{data: reflect.TypeFor[T](), decode: decode[T], plan: planned[T]}
}

// codecs has what reads the data of each kind: a kind that is not here is
// unknown, so the table is also the list of kinds.
var codecs = map[Kind]codec{
	EngineStarted:      of[EngineStartedData](),
	KeeperStarted:      of[KeeperStartedData](),
	LoggerStarted:      of[LoggerStartedData](),
	SupdStopping:       of[SupdStoppingData](),
	SupdStopped:        of[SupdStoppedData](),
	RecoverySettled:    of[RecoverySettledData](),
	StateBase:          of[StateBaseData](),
	CommandAccepted:    of[CommandAcceptedData](),
	CommandEnded:       of[CommandEndedData](),
	CommandRejected:    of[CommandRejectedData](),
	AccessDenied:       of[AccessDeniedData](),
	ConfigApplied:      of[ConfigAppliedData](),
	ConfigRejected:     of[ConfigRejectedData](),
	ServiceDefined:     of[ServiceDefinedData](),
	ServiceRemoved:     of[ServiceRemovedData](),
	ServiceWanted:      of[ServiceWantedData](),
	ServiceFatal:       of[ServiceFatalData](),
	InstanceStarting:   of[InstanceStartingData](),
	InstanceRunning:    of[InstanceRunningData](),
	InstanceExecFailed: of[InstanceExecFailedData](),
	InstanceReloading:  of[InstanceReloadingData](),
	InstanceStopping:   of[InstanceStoppingData](),
	InstanceSignaled:   of[InstanceSignaledData](),
	InstanceExited:     of[InstanceExitedData](),
	InstanceStuck:      of[InstanceStuckData](),
	InstanceSwept:      of[InstanceSweptData](),
	InstanceAdopted:    of[InstanceAdoptedData](),
	RestartScheduled:   of[RestartScheduledData](),
	RestartCancelled:   of[RestartCancelledData](),
	OutputGap:          of[OutputGapData](),
	OutputTrimmed:      of[OutputTrimmedData](),
	JournalDegraded:    of[JournalDegradedData](),
	JournalHealed:      of[JournalHealedData](),
	JournalGap:         of[JournalGapData](),
	ResourcePressed:    of[ResourcePressedData](),
	ResourceRelieved:   of[ResourceRelievedData](),
	ServiceWaiting:     of[ServiceWaitingData](),
	InstanceReady:      of[InstanceReadyData](),
	InstanceExtended:   of[InstanceExtendedData](),
	HealthChanged:      of[HealthChangedData](),
	HookStarted:        of[HookStartedData](),
	HookEnded:          of[HookEndedData](),
	JournalDamaged:     of[JournalDamagedData](),
	JournalCheckpoint:  of[JournalCheckpointData](),
	UpgradeStarted:     of[UpgradeStartedData](),
	UpgradeEnded:       of[UpgradeEndedData](),
}

func decode[T Data](raw json.RawMessage) (Data, error) {
	var d T
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	return d, nil
}

// DecodeData reads the data of a record of this kind.
func DecodeData(k Kind, raw json.RawMessage) (Data, error) { return codecs[k].decode(raw) }
