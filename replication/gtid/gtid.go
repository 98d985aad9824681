package gtid

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// maxTagLength is the server's limit on the length of a tag, in characters.
const maxTagLength = 32

// GTID names one transaction. Values from this package are in MySQL's
// canonical form; where one is taken as an argument, upper case and a UUID
// without dashes are accepted too.
type GTID struct {
	UUID string // The originating server, as 36 characters in lower case.
	Tag  string // The tag in lower case; empty when there is none.
	N    int64  // The transaction's number, from 1 to 2^63-2.
}

// ParseGTID reads one identifier in the form uuid:number or uuid:tag:number,
// and returns it in canonical form. A failure is a *SyntaxError.
func ParseGTID(s string) (GTID, error) {
	p := parser{what: "GTID", text: s}
	return p.gtid()
}

// String returns the identifier as MySQL writes it, or what the fields hold
// where they are not valid.
func (g GTID) String() string {
	n := strconv.FormatInt(g.N, 10)
	if g.Tag == "" {
		return g.UUID + ":" + n
	}
	return g.UUID + ":" + g.Tag + ":" + n
}

// key validates the identifier and returns the source it counts for.
func (g GTID) key() (key, error) {
	uuid, ok := parseUUID(g.UUID)
	if !ok {
		return key{}, fmt.Errorf("GTID %.120q: the UUID must be %s", g.String(), wantUUID)
	}
	if g.Tag != "" && tagLength(g.Tag) != len(g.Tag) {
		return key{}, fmt.Errorf("GTID %.120q: the tag must be empty or %s", g.String(), wantTag)
	}
	if g.N < 1 || g.N > maxNumber {
		return key{}, fmt.Errorf("GTID %.120q: the number must be %s", g.String(), wantNumber)
	}
	return key{uuid: uuid, tag: strings.ToLower(g.Tag)}, nil
}

// key names the source of a run of numbers: MySQL counts separately for every
// pair of UUID and tag.
type key struct {
	uuid [16]byte
	tag  string
}

// compare orders as MySQL prints: by UUID, then by tag, no tag first.
func (k key) compare(other key) int {
	if c := bytes.Compare(k.uuid[:], other.uuid[:]); c != 0 {
		return c
	}
	return cmp.Compare(k.tag, other.tag)
}

// parseUUID reads the forms with and without dashes, in either case.
func parseUUID(s string) (uuid [16]byte, ok bool) {
	switch len(s) {
	case 36:
		if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
			return uuid, false
		}
		s = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	case 32:
	default:
		return uuid, false
	}
	_, err := hex.Decode(uuid[:], []byte(s))
	return uuid, err == nil
}

// FormatUUID returns the 36 characters in lower case that name a server in a
// [GTID], from the 16 bytes that stand for them in binary logs.
func FormatUUID(uuid [16]byte) string { return string(appendUUID(nil, uuid)) }

// appendUUID writes the form with dashes, in lower case.
func appendUUID(dst []byte, uuid [16]byte) []byte {
	for i, group := range [...][]byte{uuid[:4], uuid[4:6], uuid[6:8], uuid[8:10], uuid[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, group)
	}
	return dst
}

// tagLength returns the length of the tag that s starts with, which may exceed
// maxTagLength by one to tell that it is too long; 0 when there is none.
func tagLength(s string) int {
	n := 0
	for n < len(s) && n <= maxTagLength && isTagByte(s[n], n == 0) {
		n++
	}
	return n
}

func isTagByte(c byte, first bool) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		return true
	default:
		return !first && '0' <= c && c <= '9'
	}
}
