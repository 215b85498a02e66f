// Package event is the vocabulary of supd: the records that the journal
// holds, the commands and questions that reach it, the specification of a
// service, and the names of streams and subjects.
//
// Everything here is a value. The package reads no clock, draws no chance and
// does no I/O, because records must mean the same when they are replayed on
// another machine next year (P6). What a record needs of time, chance and
// identity is drawn once at the edge and travels inside it.
//
// A record is encoded once. Its bytes are what the hash chain covers (P11),
// so nobody re-encodes a stored record: Encoded keeps record and bytes
// together from the moment of encoding.
package event
