package event

import (
	"encoding/json"
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
	ks := make([]Kind, 0, len(decoders))
	for k := range decoders {
		ks = append(ks, k)
	}
	sort.Slice(ks, func(i, j int) bool { return ks[i] < ks[j] })
	return ks
}

func kindOfType(t string) (Kind, bool) {
	k, ok := strings.CutPrefix(t, typePrefix)
	if !ok {
		return "", false
	}
	if k, ok = strings.CutSuffix(k, typeSuffix); !ok {
		return "", false
	}
	_, known := decoders[Kind(k)]
	return Kind(k), known
}

// decoders maps a kind to the reader of its data: a kind that is not here is
// unknown, so the table is also the list of kinds.
var decoders = map[Kind]func(json.RawMessage) (Data, error){
	EngineStarted:      decode[EngineStartedData],
	KeeperStarted:      decode[KeeperStartedData],
	LoggerStarted:      decode[LoggerStartedData],
	SupdStopping:       decode[SupdStoppingData],
	SupdStopped:        decode[SupdStoppedData],
	RecoverySettled:    decode[RecoverySettledData],
	StateBase:          decode[StateBaseData],
	CommandAccepted:    decode[CommandAcceptedData],
	CommandEnded:       decode[CommandEndedData],
	CommandRejected:    decode[CommandRejectedData],
	AccessDenied:       decode[AccessDeniedData],
	ConfigApplied:      decode[ConfigAppliedData],
	ConfigRejected:     decode[ConfigRejectedData],
	ServiceDefined:     decode[ServiceDefinedData],
	ServiceRemoved:     decode[ServiceRemovedData],
	ServiceWanted:      decode[ServiceWantedData],
	ServiceFatal:       decode[ServiceFatalData],
	InstanceStarting:   decode[InstanceStartingData],
	InstanceRunning:    decode[InstanceRunningData],
	InstanceExecFailed: decode[InstanceExecFailedData],
	InstanceReloading:  decode[InstanceReloadingData],
	InstanceStopping:   decode[InstanceStoppingData],
	InstanceSignaled:   decode[InstanceSignaledData],
	InstanceExited:     decode[InstanceExitedData],
	InstanceStuck:      decode[InstanceStuckData],
	InstanceSwept:      decode[InstanceSweptData],
	InstanceAdopted:    decode[InstanceAdoptedData],
	RestartScheduled:   decode[RestartScheduledData],
	RestartCancelled:   decode[RestartCancelledData],
	OutputGap:          decode[OutputGapData],
	OutputTrimmed:      decode[OutputTrimmedData],
	JournalDegraded:    decode[JournalDegradedData],
	JournalHealed:      decode[JournalHealedData],
	JournalGap:         decode[JournalGapData],
	ResourcePressed:    decode[ResourcePressedData],
	ResourceRelieved:   decode[ResourceRelievedData],
	ServiceWaiting:     decode[ServiceWaitingData],
	InstanceReady:      decode[InstanceReadyData],
	InstanceExtended:   decode[InstanceExtendedData],
	HealthChanged:      decode[HealthChangedData],
	HookStarted:        decode[HookStartedData],
	HookEnded:          decode[HookEndedData],
	JournalDamaged:     decode[JournalDamagedData],
	JournalCheckpoint:  decode[JournalCheckpointData],
	UpgradeStarted:     decode[UpgradeStartedData],
	UpgradeEnded:       decode[UpgradeEndedData],
}

func decode[T Data](raw json.RawMessage) (Data, error) {
	var d T
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	return d, nil
}

// DecodeData reads the data of a record of this kind.
func DecodeData(k Kind, raw json.RawMessage) (Data, error) { return decoders[k](raw) }
