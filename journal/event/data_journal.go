package event

import (
	"encoding/json"
	"time"
)

// JournalGapData stands for records that were given up because the run log was
// full before the journal recovered (R10). A base follows it. Records that say
// what people did and how services fared are carried inside, as long as there is
// room; lives of crashing services are counted.
type JournalGapData struct {
	First    Seq          `json:"first"`
	Last     Seq          `json:"last"`
	LastHash string       `json:"last_hash"`
	Counts   map[Kind]int `json:"counts"` // of the records that are gone, those in loops too
	Why      string       `json:"why"`
	// Loops are the lives of instances whose records are gone, by service.
	Loops []CrashLoop `json:"loops,omitempty"`
	// Kept are the records of the range that are not gone, as they were, in order.
	Kept []json.RawMessage `json:"kept,omitempty"`
}

// CrashLoop counts lives of one service's instances: each was an automatic
// restart and ended unexpectedly.
type CrashLoop struct {
	Service string         `json:"service"` // empty: all those that are not listed
	Cycles  int            `json:"cycles"`
	First   time.Time      `json:"first"` // exit of the first of them
	Last    time.Time      `json:"last"`
	Exits   map[string]int `json:"exits"` // how they ended, such as "exit 1" or "SIGSEGV"
}

// JournalDamagedData names a place of the journal that could not be read. The
// file was set aside as evidence before anything was written to the journal.
type JournalDamagedData struct {
	File     string     `json:"file"`     // as it was called in the journal's folder
	Offset   int64      `json:"offset"`   // bytes; where reading failed first
	Seqs     []SeqRange `json:"seqs"`     // of records that are lost, as far as the rest tells
	Salvaged int        `json:"salvaged"` // records that could be read all the same
	Evidence string     `json:"evidence"` // path of the file that was set aside
	Why      string     `json:"why"`
}

// SeqRange is a run of record numbers, both ends in it.
type SeqRange struct {
	First Seq `json:"first"`
	Last  Seq `json:"last"`
}

// JournalCheckpointData pins the journal as it was at a record: whoever holds
// the signature elsewhere finds later changes of what came before (P11).
type JournalCheckpointData struct {
	Seq       Seq    `json:"seq"`
	Hash      string `json:"hash"`      // of that record's stored bytes
	Key       string `json:"key"`       // public key, an nkey
	Signature string `json:"signature"` // base64, of node, seq and hash
}

// UpgradeStartedData says that supd is about to replace its own programs.
type UpgradeStartedData struct {
	From string `json:"from"` // version
	To   string `json:"to"`
}

// UpgradeEndedData says what came of it.
type UpgradeEndedData struct {
	Outcome Outcome `json:"outcome"` // done, failed
	Error   string  `json:"error,omitempty"`
}

// Kind returns JournalGap.
func (JournalGapData) Kind() Kind { return JournalGap }

// Kind returns JournalDamaged.
func (JournalDamagedData) Kind() Kind { return JournalDamaged }

// Kind returns JournalCheckpoint.
func (JournalCheckpointData) Kind() Kind { return JournalCheckpoint }

// Kind returns UpgradeStarted.
func (UpgradeStartedData) Kind() Kind { return UpgradeStarted }

// Kind returns UpgradeEnded.
func (UpgradeEndedData) Kind() Kind { return UpgradeEnded }
