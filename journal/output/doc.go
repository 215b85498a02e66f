// Package output keeps what services write to stdout and stderr: the engine
// of the logger process, and the reader behind "supctl logs".
//
// # Files
//
// Each service has a folder, and in it, for each of its two streams:
//
//	stdout.log        the active segment
//	stdout.log.7      a closed one; the number only ever grows
//	stdout.log.6.gz   a closed and compressed one
//	stdout.idx.8      when and by which instance the bytes of segment 8 came
//
// Segments hold the raw bytes of the service and nothing else, so that people
// may tail and grep them (stdout.log* matches no index). The active segment
// takes its number from its index, which exists before it. Closing a segment
// is therefore one rename, and every crash leaves a folder that reads in
// exactly one way (see layout).
//
// # Why no byte is lost or repeated
//
// The logger moves bytes with splice(2) from the pipe to the end of the
// segment. The kernel takes from the pipe what it has written to the file and
// finishes that step before a SIGKILL counts, so the file size is the exact
// cursor: a successor that is given the same pipes (after proof of the first
// one's death, R7) goes on at the size it finds. Space is reserved ahead
// without changing the size, and not at all for a stream that never spoke.
//
// The index entry (offset, wall clock, instance) is written before the splice
// it describes. An entry with no bytes behind it is harmless, bytes without an
// entry would carry a wrong time. Readers never need the index: without it the
// time of a line is the segment's modification time and its instance unknown.
//
// # Where segments end
//
// A segment is full when its text or its index has reached max_size. It then
// takes, from whichever pipe speaks next, the bytes up to the first newline,
// found by looking without taking (tee), and closes. A line that does not end
// within 64 KiB past the limit is cut. So a line below 64 KiB is whole in one
// segment, and none is more than 64 KiB above max_size.
//
// # Compression
//
// Closed segments of a service that wants it are compressed one after the
// other by a goroutine that takes a fifth of one CPU at most, so that draining
// never waits for it: to a temporary file, synced, renamed, the folder synced,
// the plain file removed. The text keeps its offsets, so that cursors, tails
// and indexes go on to hold (see packedText); retention counts what the files
// occupy, and events count bytes of text. Damage in a compressed segment costs
// a reader the rest of that segment, counted as skipped.
//
// # When the disk refuses
//
// Any failure to write (full, quota, I/O error, a folder where the file should
// be) puts that one stream in trouble: one Pressed event, a new try every
// 200 ms, one Relieved event. Meanwhile "block" leaves the bytes in the pipe,
// so that the service feels it and nothing is lost (P3), and "drop" reads and
// counts them into Gap events (P4). The count is kept in a file allocated
// beforehand, so that it survives the logger (see tally). Other streams go on.
//
// A disk that hangs hangs this process only (P5). After 2 to 4 s a second goroutine
// reads and counts what services with "drop" write (see standby); with "block"
// they wait once their pipe is full. One service may wait all the same: the kernel
// holds the lock of the pipe that it is moving to the hanging disk, if the disk
// hangs inside that call.
//
// # What is promised about power loss
//
// Nothing beyond best effort: segments are synced when they close and when the
// logger finishes, not per write. The order of lines within a stream is always
// that of the file; between the two streams it is by time, exact to one batch
// of the logger (about 10 ms).
package output
