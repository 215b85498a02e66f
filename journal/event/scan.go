package event

import (
	"encoding/json"
	"math"
	"strings"
	"time"
	"unsafe"
)

// Undecoded is the data of a record that was scanned.
type Undecoded struct {
	text  string
	known *known
}

// Scan reads a record without its data into r, which is to be zero, in the form
// that Encode writes: what the chain and the filters of a reader need. ok is
// false for anything else, also for a record that Decode would accept; then r
// is of no use: ask Decode. It allocates nothing. The texts of r are the bytes
// themselves, and so are those in the data: as long as one is in use, the bytes
// must not change.
func Scan(b []byte, r *Record) (u Undecoded, ok bool) {
	return scan(unsafe.String(unsafe.SliceData(b), len(b)), r)
}

func scan(text string, r *Record) (u Undecoded, ok bool) {
	c := cursor{text: text}
	c.literal(`{"specversion":"` + SpecVersion + `","id":"`)
	r.ID = c.rest()
	c.literal(`,"source":"`)
	r.Source = c.rest()
	c.literal(`,"type":"`)
	u.known = types[c.rest()]
	if c.next(`,"subject":"`) {
		r.Subject = c.rest()
	}
	c.literal(`,"time":"`)
	r.Time = c.time()
	c.literal(`,"mono":`)
	r.Mono = c.integer()
	c.literal(`,"boot":"`)
	r.Boot = c.rest()
	c.literal(`,"seq":`)
	r.Seq = Seq(c.unsigned())
	c.literal(`,"prev":"`)
	r.Prev = c.rest()
	if c.next(`,"cause":"`) {
		r.Cause = c.rest()
	}
	c.literal(`,"actor":"`)
	r.Actor = c.rest()
	c.literal(`,"data":`)
	if n := len(c.text); !c.bad && n > 1 && c.text[n-1] == '}' && u.known != nil {
		r.Kind, u.text = u.known.kind, c.text[:n-1]
		return u, r.ID != "" && r.Seq > 0 && len(r.Prev) == len(Genesis) && len(text) <= MaxRecordSize
	}
	return u, false
}

// Decode reads the data. ok is false if Decode of the whole record may know
// better.
func (u Undecoded) Decode() (d Data, ok bool) {
	if u.known.plan != nil {
		if d, ok = u.known.plan(u.text); ok {
			return d, true
		}
	}
	d, err := u.known.decode(json.RawMessage(u.text))
	return d, err == nil
}

// decodeCanonical is Decode for the form that Encode writes. It answers false
// for anything else, which is no judgement: the general decoder makes it. The
// texts of the record share one copy of its bytes.
func decodeCanonical(b []byte, r *Record) bool {
	u, ok := scan(string(b), r)
	if ok {
		r.Data, ok = u.Decode()
	}
	return ok
}

// cursor walks over canonical JSON; bad sticks.
type cursor struct {
	text string
	bad  bool
}

// next consumes what comes if it is this.
func (c *cursor) next(what string) bool {
	if c.bad || !strings.HasPrefix(c.text, what) {
		return false
	}
	c.text = c.text[len(what):]
	return true
}

func (c *cursor) literal(what string) {
	if !c.next(what) {
		c.bad = true
	}
}

// rest is a text up to its closing quote.
func (c *cursor) rest() string {
	n := plain(c.text)
	if c.bad || n == len(c.text) || c.text[n] != '"' {
		c.bad = true
		return ""
	}
	value := c.text[:n]
	c.text = c.text[n+1:]
	return value
}

// plain is how many bytes at the front stand for themselves in a JSON text:
// up to a quote, an escape, a control character or anything but ASCII, which
// are left to the general decoder. Eight are looked at at once, because most
// of a record is identifiers and hashes.
func plain(text string) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; n+8 <= len(text); n += 8 {
		w := uint64(text[n]) | uint64(text[n+1])<<8 | uint64(text[n+2])<<16 | uint64(text[n+3])<<24 |
			uint64(text[n+4])<<32 | uint64(text[n+5])<<40 | uint64(text[n+6])<<48 | uint64(text[n+7])<<56
		quote, escape := w^('"'*ones), w^('\\'*ones)
		if (w|(w-' '*ones)&^w|(quote-ones)&^quote|(escape-ones)&^escape)&tops != 0 {
			break
		}
	}
	for ; n < len(text); n++ {
		if x := text[n]; x < ' ' || x >= 0x80 || x == '"' || x == '\\' {
			break
		}
	}
	return n
}

func (c *cursor) unsigned() uint64 {
	v, rest, ok := number(c.text)
	c.text, c.bad = rest, c.bad || !ok
	return v
}

// number cuts a whole number without a sign off. One of more than 19 digits,
// which may overflow, is left to the general decoder.
func number(text string) (v uint64, rest string, ok bool) {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		v = 10*v + uint64(text[n]-'0')
		n++
	}
	return v, text[n:], n > 0 && n <= 19 && (n == 1 || text[0] != '0')
}

func (c *cursor) integer() int64 {
	v, rest, ok := whole(c.text)
	c.text, c.bad = rest, c.bad || !ok
	return v
}

// whole cuts a whole number off.
func whole(text string) (v int64, rest string, ok bool) {
	positive, negative := strings.CutPrefix(text, "-")
	n, rest, ok := number(positive)
	if v = int64(n); negative {
		v = -v
	}
	return v, rest, ok && n <= math.MaxInt64
}

// time is one in UTC up to its closing quote, as Encode writes them.
func (c *cursor) time() time.Time {
	text := c.rest()
	t, ok := canonicalTime(text)
	c.bad = c.bad || !ok
	return t
}

func canonicalTime(s string) (time.Time, bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[len(s)-1] != 'Z' {
		return time.Time{}, false
	}
	good := true
	part := func(from, to int) (v int) {
		for _, x := range []byte(s[from:to]) {
			good = good && x >= '0' && x <= '9'
			v = 10*v + int(x-'0')
		}
		return v
	}
	year, month, day := part(0, 4), part(5, 7), part(8, 10)
	hour, minute, second := part(11, 13), part(14, 16), part(17, 19)
	nano := 0
	if end := len(s) - 1; end > 19 {
		if s[19] != '.' || end-20 < 1 || end-20 > 9 {
			return time.Time{}, false
		}
		nano = part(20, end)
		for range 9 - (end - 20) {
			nano *= 10
		}
	}
	if !good || month < 1 || month > 12 || day < 1 || day > 28 && !monthHas(year, month, day) || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC), true
}

func monthHas(year, month, day int) bool {
	return day <= time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
