package gtid

import (
	"fmt"
	"strings"
)

// maxTextBytes bounds the text of a set, and so the memory a hostile or broken
// peer can make us spend on it. A real gtid_executed is a few kilobytes even
// with many past primaries; this allows about a million gaps.
const maxTextBytes = 16 << 20

// What a word must look like, as the error messages say it.
const (
	wantUUID     = "a UUID of 32 hexadecimal digits, such as 3e11fa47-71ca-11e1-9e33-c80aa9429562"
	wantTag      = "a tag of 1 to 32 letters, digits and underscores that does not begin with a digit"
	wantNumber   = "a transaction number from 1 to 9223372036854775806 without leading zeros"
	wantInterval = "an interval, such as 1-5 or 7"
)

// SyntaxError tells where a text stops being a GTID or a GTID set.
type SyntaxError struct {
	What   string // What was being read: "GTID" or "GTID set".
	Offset int    // Where it went wrong, in bytes from the start of the text.
	Near   string // The text from there on, cut after some bytes; empty at its end.
	Want   string // What would be right there.
}

// Error names the place, what stands there and what would be right.
func (e *SyntaxError) Error() string {
	near := "the text ends"
	if e.Near != "" {
		near = fmt.Sprintf("there is %q", e.Near)
	}
	return fmt.Sprintf("parse %s: at byte %d %s, want %s", e.What, e.Offset, near, e.Want)
}

// parser walks over one text. Its methods leave pos behind what they read.
type parser struct {
	what string // For SyntaxError.What.
	text string
	pos  int
}

// set reads the whole text as entries divided by commas.
func (p *parser) set() (Set, error) {
	if err := p.checkSize(); err != nil {
		return Set{}, err
	}
	var b Builder
	if p.skipSpace(); p.atEnd() {
		return Set{}, nil
	}
	for {
		if err := p.entry(&b); err != nil {
			return Set{}, err
		}
		if p.atEnd() {
			return b.Set(), nil
		}
		if !p.accept(',') {
			return Set{}, p.fail("':' and a tag or an interval, ',' and a UUID, or the end")
		}
	}
}

// entry reads a UUID and all that counts under it: intervals without a tag,
// then for each tag the tag and its intervals.
func (p *parser) entry(b *Builder) error {
	uuid, err := p.uuid()
	if err != nil {
		return err
	}
	k := key{uuid: uuid}
	if !p.accept(':') {
		return p.fail("':' and a tag or an interval")
	}
	for {
		if isTagByte(p.peek(), true) {
			if k.tag, err = p.tag(); err != nil {
				return err
			}
			if !p.accept(':') {
				return p.fail("':' and an interval for the tag before it")
			}
		}
		if err := p.intervals(b.list(k)); err != nil {
			return err
		}
		if !p.accept(':') {
			return nil
		}
	}
}

// intervals reads one interval and all that follow it under the same tag. It
// leaves a ':' that is followed by a tag to the caller.
func (p *parser) intervals(list *[]interval) error {
	for {
		iv, err := p.interval()
		if err != nil {
			return err
		}
		collect(list, iv)
		before := p.pos
		if !p.accept(':') {
			return nil
		}
		if isTagByte(p.peek(), true) {
			p.pos = before
			return nil
		}
	}
}

func (p *parser) interval() (interval, error) {
	if !isDigit(p.peek()) {
		return interval{}, p.fail(wantInterval)
	}
	first, err := p.number()
	if err != nil {
		return interval{}, err
	}
	last := first
	if p.accept('-') {
		at := p.pos
		if last, err = p.number(); err != nil {
			return interval{}, err
		}
		if last < first {
			p.pos = at
			return interval{}, p.fail(fmt.Sprintf("an end of the interval that is not below its start %d", first))
		}
	}
	return interval{first, last + 1}, nil
}

// gtid reads the whole text as one identifier.
func (p *parser) gtid() (GTID, error) {
	if err := p.checkSize(); err != nil {
		return GTID{}, err
	}
	p.skipSpace()
	uuid, err := p.uuid()
	if err != nil {
		return GTID{}, err
	}
	g := GTID{UUID: string(appendUUID(nil, uuid))}
	if !p.accept(':') {
		return GTID{}, p.fail("':' and a tag or a transaction number")
	}
	if isTagByte(p.peek(), true) {
		if g.Tag, err = p.tag(); err != nil {
			return GTID{}, err
		}
		if !p.accept(':') {
			return GTID{}, p.fail("':' and a transaction number")
		}
	}
	if g.N, err = p.number(); err != nil {
		return GTID{}, err
	}
	if !p.atEnd() {
		return GTID{}, p.fail("the end, as one GTID names one transaction")
	}
	return g, nil
}

func (p *parser) uuid() ([16]byte, error) {
	rest := p.text[p.pos:]
	n := 0
	for n < len(rest) && (isHexDigit(rest[n]) || rest[n] == '-') {
		n++
	}
	uuid, ok := parseUUID(rest[:n])
	if !ok {
		return uuid, p.fail(wantUUID)
	}
	p.pos += n
	p.skipSpace()
	return uuid, nil
}

// tag reads a tag and returns it in lower case.
func (p *parser) tag() (string, error) {
	n := tagLength(p.text[p.pos:])
	if n == 0 || n > maxTagLength {
		return "", p.fail(wantTag)
	}
	// A copy, so that a small set does not keep a large text in memory.
	tag := strings.Clone(strings.ToLower(p.text[p.pos : p.pos+n]))
	p.pos += n
	p.skipSpace()
	return tag, nil
}

func (p *parser) number() (int64, error) {
	start, n := p.pos, int64(0)
	for ; isDigit(p.peek()); p.pos++ {
		digit := int64(p.peek() - '0')
		if n > (maxNumber-digit)/10 {
			p.pos = start
			return 0, p.fail(wantNumber)
		}
		n = n*10 + digit
	}
	if p.pos == start || p.text[start] == '0' {
		p.pos = start
		return 0, p.fail(wantNumber)
	}
	p.skipSpace()
	return n, nil
}

// accept skips c and the space after it, or reports that c is not next.
func (p *parser) accept(c byte) bool {
	if p.atEnd() || p.text[p.pos] != c {
		return false
	}
	p.pos++
	p.skipSpace()
	return true
}

// peek returns the next byte, or 0, which begins no word, at the end.
func (p *parser) peek() byte {
	if p.atEnd() {
		return 0
	}
	return p.text[p.pos]
}

func (p *parser) atEnd() bool { return p.pos >= len(p.text) }

func (p *parser) skipSpace() {
	for !p.atEnd() && strings.IndexByte(" \t\n\v\f\r", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *parser) checkSize() error {
	if len(p.text) <= maxTextBytes {
		return nil
	}
	p.pos = maxTextBytes
	return p.fail(fmt.Sprintf("the end, as a text may have %d bytes", maxTextBytes))
}

func (p *parser) fail(want string) error {
	const show = 40
	near := p.text[p.pos:]
	if len(near) > show {
		near = near[:show] + "…"
	}
	return &SyntaxError{What: p.what, Offset: p.pos, Near: strings.Clone(near), Want: want}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHexDigit(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
