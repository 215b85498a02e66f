// Package timeline holds the read models for people: what the state and the
// records mean when they are looked at. It is as pure as the projector: time
// comes in as a value.
package timeline
