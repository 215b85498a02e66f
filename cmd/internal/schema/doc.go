// Package schema describes the records of the journal for those who read it
// with other tools: a JSON Schema for every kind (journal/event/schema) and a
// reference page (cmd/doc/records.md). Both are made from the types and the
// comments of the package event, so that they cannot say something else than the
// code; a test compares, and with -rewrite writes them anew.
//
// Published schemas are open: a later supd may add a property to a kind, never
// take one away or change its meaning. Strict, for tests, allows no property
// that is not described.
package schema
