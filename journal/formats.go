package journal

// RunLogFormat is the version of the run log that this program writes and reads.
// An upgrade is refused to a program that reads another one.
const RunLogFormat = runLogVersion
