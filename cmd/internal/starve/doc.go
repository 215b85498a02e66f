// Package starve takes from a real supd what it lives on, one thing at a time:
// disks that are full or hang, descriptors, processes, memory, CPU. Meanwhile
// it asks for the status, restarts a service and lets another one write, and
// counts: what did they wait, which line was lost without being declared, how
// soon does it all go on. Its only test prints a table; scripts/starve runs the
// long one. Like package rig it sees supd from outside.
package starve
