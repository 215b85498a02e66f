package event

import (
	"encoding/json"
	"math"
	"strings"
	"time"
	"unsafe"
)

// Head is a record without its data, found in the stored bytes without
// decoding them: what the chain and the filters of a reader need. Its texts
// are the bytes themselves.
type Head struct {
	ID, Source, Type, Subject, Boot, Prev, Cause, Actor string

	Time time.Time
	Mono int64
	Seq  Seq
	Data string // JSON of the data, not yet checked

	known *known
}

// ScanHead reads the head of a record in the form that Encode writes. ok is
// false for anything else, also for a record that Decode would accept; then
// ask Decode. It allocates nothing: clone a text that is kept for long.
func ScanHead(b []byte) (h Head, ok bool) {
	return scanHead(unsafe.String(unsafe.SliceData(b), len(b))) // stored bytes are never written to (R6)
}

func scanHead(text string) (h Head, ok bool) {
	c := cursor{text: text}
	c.literal(`{"specversion":"` + SpecVersion + `","id":"`)
	h.ID = c.rest()
	c.literal(`,"source":"`)
	h.Source = c.rest()
	c.literal(`,"type":"`)
	h.Type = c.rest()
	if c.next(`,"subject":"`) {
		h.Subject = c.rest()
	}
	c.literal(`,"time":"`)
	h.Time = c.time()
	c.literal(`,"mono":`)
	h.Mono = c.integer()
	c.literal(`,"boot":"`)
	h.Boot = c.rest()
	c.literal(`,"seq":`)
	h.Seq = Seq(c.unsigned())
	c.literal(`,"prev":"`)
	h.Prev = c.rest()
	if c.next(`,"cause":"`) {
		h.Cause = c.rest()
	}
	c.literal(`,"actor":"`)
	h.Actor = c.rest()
	c.literal(`,"data":`)
	if n := len(c.text); !c.bad && n > 1 && c.text[n-1] == '}' {
		h.Data = c.text[:n-1]
		h.known = types[h.Type]
		return h, h.ID != "" && h.Seq > 0 && len(h.Prev) == len(Genesis) && len(text) <= MaxRecordSize
	}
	return h, false
}

// Kind is the kind that the head names; false if this version does not know it.
func (h *Head) Kind() (Kind, bool) {
	if h.known == nil {
		return "", false
	}
	return h.known.kind, true
}

// Record is the record without its data; its texts are those of the head.
func (h *Head) Record() Record {
	kind, _ := h.Kind()
	return Record{
		ID: h.ID, Source: h.Source, Kind: kind, Subject: h.Subject, Time: h.Time, Mono: h.Mono,
		Boot: h.Boot, Seq: h.Seq, Prev: h.Prev, Cause: h.Cause, Actor: h.Actor,
	}
}

// Decode reads the data that belongs to the head. ok is false if Decode, given
// the stored bytes, may know better. What it returns may hold parts of these
// bytes, as the head does.
func (h *Head) Decode() (d Data, ok bool) {
	if h.known == nil {
		return nil, false
	}
	if h.known.plan != nil {
		if d, ok = h.known.plan(h.Data); ok {
			return d, true
		}
	}
	d, err := h.known.decode(json.RawMessage(h.Data))
	return d, err == nil
}

// decodeCanonical is Decode for the form that Encode writes. It answers false
// for anything else, which is no judgement: the general decoder makes it. The
// texts of the record share one copy of its bytes.
func decodeCanonical(b []byte) (Record, bool) {
	h, ok := scanHead(string(b))
	if !ok {
		return Record{}, false
	}
	d, ok := h.Decode()
	if !ok {
		return Record{}, false
	}
	r := h.Record()
	r.Data = d
	return r, true
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
