package event

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/bits"
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
	b := unsafe.Slice(unsafe.StringData(text), len(text))
	n := 0
	for ; n+8 <= len(b); n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		quote, escape := w^('"'*ones), w^('\\'*ones)
		// The highest bit of each byte that is none of them; of the bytes behind the
		// first one it may be wrong.
		if odd := (w | (w-' '*ones)&^w | (quote-ones)&^quote | (escape-ones)&^escape) & tops; odd != 0 {
			return n + bits.TrailingZeros64(odd)/8
		}
	}
	for ; n < len(b); n++ {
		if x := b[n]; x < ' ' || x >= 0x80 || x == '"' || x == '\\' {
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
	year, month, day := 100*pair(s, 0)+pair(s, 2), pair(s, 5), pair(s, 8)
	hour, minute, second := pair(s, 11), pair(s, 14), pair(s, 17)
	nano := 0
	if end := len(s) - 1; end > 19 {
		if s[19] != '.' || end-20 < 1 || end-20 > 9 {
			return time.Time{}, false
		}
		for i := range 9 {
			digit := byte(0)
			if 20+i < end {
				digit = s[20+i] - '0'
			}
			if digit > 9 {
				return time.Time{}, false
			}
			nano = 10*nano + int(digit)
		}
	}
	if year >= noPair || month < 1 || month > 12 || day < 1 || day > 28 && !monthHas(year, month, day) || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC), true
}

// noPair is what is no number of two digits: more than any of them, and than a
// year of four.
const noPair = 10_000

func pair(s string, at int) int {
	a, b := s[at]-'0', s[at+1]-'0'
	if a > 9 || b > 9 {
		return noPair
	}
	return 10*int(a) + int(b)
}

func monthHas(year, month, day int) bool {
	return day <= time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
