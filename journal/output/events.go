package output

import "time"

// Kinds of an Event: names of the journal's record kinds.
const (
	KindGap      = "output.gap"
	KindTrimmed  = "output.trimmed"
	KindPressed  = "resource.pressed"
	KindRelieved = "resource.relieved"
)

// Event is something the journal should know. Data is a Gap, Trimmed, Pressed
// or Relieved, whose JSON is the data of the record.
type Event struct {
	Kind    string `json:"kind"`
	Service string `json:"service"`
	Data    any    `json:"data"`
}

// Gap counts output of one instance that was read and not kept (P4). Lines
// are newlines seen.
type Gap struct {
	Stream   string    `json:"stream"`
	Instance string    `json:"instance"`
	Lines    int64     `json:"lines"`
	Bytes    int64     `json:"bytes"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Reason   string    `json:"reason"`
}

// Why output was trimmed.
const (
	WhyCount   = "count"   // more closed segments than max_files
	WhyAge     = "age"     // older than max_age
	WhyTotal   = "total"   // all services together above max_total
	WhyOutside = "outside" // someone else removed the active segment
)

// Trimmed counts output that retention removed. It is emitted before the
// files go, so that a crash between the two may repeat it but not hide it.
type Trimmed struct {
	Stream   string    `json:"stream"`
	Segments int       `json:"segments"`
	Bytes    int64     `json:"bytes"`
	Oldest   time.Time `json:"oldest"`
	Newest   time.Time `json:"newest"`
	Why      string    `json:"why"`
}

// Pressed opens a time in which a stream could not be written. Limit is the
// cause as people read it, with the file.
type Pressed struct {
	What  string `json:"what"`
	Errno string `json:"errno"`
	Limit string `json:"limit"`
}

// Relieved closes it. Refused is the number of bytes dropped meanwhile.
type Relieved struct {
	What     string `json:"what"`
	Duration string `json:"duration"`
	Refused  int64  `json:"refused"`
}
