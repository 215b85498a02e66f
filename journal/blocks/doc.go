// Package blocks reads the journal's block files offline: without a server,
// without writing a byte, and without trusting what it reads.
//
// It exists because JetStream repairs quietly. After an unclean stop it cuts a
// block off at the first record whose checksum is wrong, logs nothing, and
// later gives the lost sequence numbers to new records. A journal that
// promises that nothing is dropped silently (P4) has to be looked at before
// JetStream opens it, and a copied, damaged folder has to be readable on a
// machine where no supervisor runs.
//
// # The layout
//
// The stream lives in jetstream/$G/streams/JOURNAL below the store folder; its
// blocks are msgs/N.blk with N counting up from 1. A record in a block is
//
//	u32 length, bit 31: has headers       the length counts the whole record
//	u64 stream sequence, bit 63: erased, bit 62: tombstone
//	i64 time, nanoseconds since 1970
//	u16 length of the subject
//	subject
//	[u32 length of the headers, headers]  only with bit 31
//	message
//	u64 HighwayHash                       of sequence, time, subject, headers, message
//
// all little endian. The hash key is the SHA-256 of "<stream>-<N>", so a block
// under another number does not verify. The three lengths are not hashed:
// where subject, headers and message meet is therefore checked against what
// every record of this stream looks like (NATS headers, a JSON object). A
// block may be compressed as a whole: "cmp", algorithm, uvarint size, an S2
// stream, and the last record's 8 bytes of hash.
//
// Records that retention discarded from the head may still be in the first
// block: they are returned, being intact. A tombstone keeps a sequence number
// alive after its block is gone and carries nothing. An erased record was
// overwritten on purpose; the stream forbids that, so it is reported.
//
// msgs/index.db is a summary that the server writes every two minutes and when
// it stops. It is used as a witness only: where it knows of records beyond the
// blocks, the end of the journal was lost, which the blocks alone cannot show.
//
// # Atomic batches
//
// A batch is first staged in batches/<hash>/msgs/N.blk, a store of its own
// whose name, the hash, is also in the key. When its commit arrives all its
// records are copied to the stream in one write. So:
//
//   - a staging folder of which the stream holds nothing was never committed
//     and nobody was told that it was: it is not part of the journal, and the
//     server deletes it at its next start;
//   - if the stream's last record belongs to a batch and is not the one with
//     Nats-Batch-Commit, the copying was cut off. The server completes it from
//     the staging folder at its next start, and so does this reader, with the
//     staged records' own times.
//
// # Damage
//
// Whatever cannot be read is in the iteration as a *Damage in its place, with
// file, offset, and the stream sequences that it covers. Reading goes on with
// the next record that verifies. Every record is either returned as it was
// written or covered by a Damage; the one thing no reader can see in the block
// files is a last part cut off exactly between two records after the last
// index.db (the chain held elsewhere sees that, P11).
//
// A test pins all of this to the server version in go.mod.
package blocks
