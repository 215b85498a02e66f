// Package architecture holds the direction of imports and the purity of the
// packages that decide. It has no code: its test reads the tree.
//
//	event ◀ projector ◀ policy ◀ executor ◀ cmd
//	event ◀ journal ◀ cmd
package architecture
