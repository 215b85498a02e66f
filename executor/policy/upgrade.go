package policy

import (
	"supd/journal/event"
)

// Upgrade has the keeper execute the program of a command in its own place. It
// follows upgrade.started, and the engine that asks for it ends with it.
type Upgrade struct{ Command string }

func (Upgrade) effect() {}

// upgrade carries out an accepted upgrade. Its program was looked at before.
func (tx *Tx) upgrade(in Command, accepted event.Record) {
	c := tx.State.Commands[in.Request.ID]
	switch {
	case in.Upgrade == nil:
		tx.end(c, event.Failed, []event.Result{{Outcome: event.Failed, Error: "no program was given"}})
	case in.Upgrade.Refused != "":
		tx.end(c, event.Failed, []event.Result{{Outcome: event.Failed, Error: clip(in.Upgrade.Refused)}})
	default:
		tx.emitAs(in.Actor, "", accepted.ID, event.UpgradeStartedData{From: in.Upgrade.From, To: in.Upgrade.To})
		tx.act(Upgrade{in.Request.ID})
	}
}

// upgraded ends an upgrade.
func (tx *Tx) upgraded(in Upgraded) {
	c := tx.State.Commands[in.Command]
	if c == nil || c.Verb != event.VerbUpgrade {
		return
	}
	d := event.UpgradeEndedData{Outcome: event.Done, Error: clip(in.Error)}
	if in.Error != "" {
		d.Outcome = event.Failed
	}
	tx.emit("", c.Record, d)
	results := []event.Result{}
	if in.Error != "" {
		results = append(results, event.Result{Outcome: d.Outcome, Error: d.Error})
	}
	tx.end(c, d.Outcome, results)
}

// settleUpgrades ends the upgrades that an earlier engine began. The keeper
// remembers the one that made it what it is: any other never happened.
func (tx *Tx) settleUpgrades(done string) {
	for _, c := range tx.openCommands() {
		switch {
		case c.Verb != event.VerbUpgrade:
		case c.ID == done:
			tx.upgraded(Upgraded{Command: c.ID})
		default:
			tx.upgraded(Upgraded{Command: c.ID, Error: "supd was lost before it was replaced; try again"})
		}
	}
}
