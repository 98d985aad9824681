package binlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// The types of events that matter here, as they stand in files.
const (
	typeQuery         = 2
	typeStop          = 3
	typeRotate        = 4
	typeFormat        = 15
	typeXID           = 16
	typeGTID          = 33
	typeAnonymousGTID = 34
	typePrevious      = 35
	typeXAPrepare     = 38
	typePayload       = 40
	typeTaggedGTID    = 42
)

// rowEvents are the types of events that may stand between a transaction's BEGIN
// and its end: variables, rows and the statements that changed them.
var rowEvents = map[byte]bool{5: true, 13: true, 14: true, 19: true, 29: true, 30: true, 31: true, 32: true, 39: true}

const (
	headerSize   = 19
	checksumSize = 4
	// flagInUse is set in the first event of a file that its server has not
	// closed.
	flagInUse = 1
)

// header stands before every event.
type header struct {
	kind   byte
	length uint32 // Of the whole event, header and checksum included.
	flags  uint16
}

func parseHeader(b []byte) header {
	return header{kind: b[4], length: binary.LittleEndian.Uint32(b[9:]), flags: binary.LittleEndian.Uint16(b[17:])}
}

var errShort = errors.New("it ends too early")

// reader takes an event's body apart. The first failure stays.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.b)) {
		r.err = errors.Join(r.err, errShort)
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uint(size uint64) uint64 {
	var v uint64
	for i, b := range r.take(size) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

// packed reads a number as MySQL's network protocol packs it.
func (r *reader) packed() uint64 {
	first := r.uint(1)
	switch first {
	case 252:
		return r.uint(2)
	case 253:
		return r.uint(3)
	case 254:
		return r.uint(8)
	case 251, 255:
		r.err = errors.Join(r.err, fmt.Errorf("%d begins no packed number", first))
		return 0
	}
	return first
}

// varlen reads a number as MySQL's serialization library writes it: as many ones
// as there are more bytes stand in the low bits of the first byte, after a zero
// comes the number.
func (r *reader) varlen() uint64 {
	first := r.uint(1)
	more := uint64(0)
	for more < 8 && first>>more&1 == 1 {
		more++
	}
	if more == 8 {
		return r.uint(8)
	}
	return first>>(more+1) | r.uint(more)<<(7-more)
}

// varlenSigned reads a number that may be negative: its sign stands in the
// lowest bit.
func (r *reader) varlenSigned() int64 {
	v := r.varlen()
	if v&1 == 1 {
		return ^int64(v >> 1)
	}
	return int64(v >> 1)
}

// format is what the first event of a file says of the others.
type format struct {
	inUse       bool
	serverStart bool
	checksums   bool
}

// parseFormat reads a format description event, header included.
func parseFormat(event []byte) (format, error) {
	r := reader{b: event[headerSize:]}
	version := r.uint(2)
	r.take(50) // The server's version.
	created := r.uint(4)
	headerLength := r.uint(1)
	if r.err != nil {
		return format{}, r.err
	}
	if version != 4 || headerLength != headerSize || len(r.b) < 1+checksumSize {
		return format{}, fmt.Errorf("the format is version %d with headers of %d bytes, not version 4 with %d", version, headerLength, headerSize)
	}
	f := format{inUse: parseHeader(event).flags&flagInUse != 0, serverStart: created != 0}
	switch algorithm := r.b[len(r.b)-checksumSize-1]; algorithm {
	case 0:
	case 1:
		f.checksums = true
	default:
		return format{}, fmt.Errorf("the checksums are of an unknown kind %d", algorithm)
	}
	return f, nil
}

// parseGTID reads the body of a GTID event.
func parseGTID(body []byte) (gtid.GTID, error) {
	r := reader{b: body}
	r.take(1) // Flags.
	uuid, n := r.take(16), r.uint(8)
	if r.err != nil {
		return gtid.GTID{}, r.err
	}
	return gtid.GTID{UUID: gtid.FormatUUID([16]byte(uuid)), N: int64(n)}, nil
}

// The fields of a tagged GTID event, by their numbers.
const (
	taggedFlags = iota
	taggedUUID
	taggedNumber
	taggedTag
)

// parseTaggedGTID reads the body of a tagged GTID event: fields with ascending
// numbers, of which the first four matter.
func parseTaggedGTID(body []byte) (gtid.GTID, error) {
	r := reader{b: body}
	if version := r.varlen(); version != 1 && r.err == nil {
		return gtid.GTID{}, fmt.Errorf("a tagged GTID is written in version %d, which is not known", version)
	}
	r.varlen() // The size.
	r.varlen() // The last field that must not be ignored.
	var g gtid.GTID
	for want := range uint64(taggedTag + 1) {
		if field := r.varlen(); field != want {
			return gtid.GTID{}, errors.Join(r.err, fmt.Errorf("a tagged GTID has field %d where field %d stands", field, want))
		}
		switch want {
		case taggedFlags:
			r.varlen()
		case taggedUUID:
			var uuid [16]byte
			for i := range uuid {
				uuid[i] = byte(r.varlen())
			}
			g.UUID = gtid.FormatUUID(uuid)
		case taggedNumber:
			g.N = r.varlenSigned()
		case taggedTag:
			g.Tag = string(r.take(r.varlen()))
		}
	}
	return g, r.err
}

// taggedSets marks, in the first and the last byte of its count, a set with tags.
const taggedSets = 1

// parsePrevious reads the body of a previous GTIDs event.
func parsePrevious(body []byte) (gtid.Set, error) {
	r := reader{b: body}
	count := r.uint(8)
	tagged := count>>56 == taggedSets
	if tagged {
		count = count << 8 >> 16
	}
	var texts []string
	for range count {
		name := r.take(16)
		if r.err != nil {
			return gtid.Set{}, r.err
		}
		text := gtid.FormatUUID([16]byte(name))
		if tagged {
			if tag := string(r.take(r.varlen())); tag != "" {
				text += ":" + tag
			}
		}
		for range r.uint(8) {
			first, end := r.uint(8), r.uint(8)
			if r.err != nil {
				return gtid.Set{}, r.err
			}
			text += fmt.Sprintf(":%d-%d", first, end-1)
		}
		texts = append(texts, text)
	}
	if r.err != nil {
		return gtid.Set{}, r.err
	}
	var all gtid.Set
	for _, text := range texts {
		set, err := gtid.Parse(text)
		if err != nil {
			return gtid.Set{}, err
		}
		all = all.Union(set)
	}
	return all, nil
}

// query is what matters of a query event.
type query struct {
	text string
	// logged says that the statement is known to the engine by an XID: crash
	// recovery takes it back if the binary log does not have it.
	logged bool
}

// statusSizes are the sizes of a query event's status variables by their
// numbers, where they are fixed.
var statusSizes = map[uint64]uint64{0: 4, 1: 8, 3: 4, 4: 6, 7: 2, 8: 2, 9: 8, 10: 4, 13: 3, 16: 1, statusXID: 8, 18: 2, 19: 1, 20: 1}

// The status variables that matter or are of another form.
const (
	statusCatalog   = 2
	statusZone      = 5
	statusCatalogNZ = 6
	statusInvoker   = 11
	statusDatabases = 12
	statusXID       = 17
	// tooManyDatabases stands for a list that was left out.
	tooManyDatabases = 254
)

// parseQuery reads the body of a query event.
func parseQuery(body []byte) (query, error) {
	r := reader{b: body}
	r.take(8) // Thread and time.
	nameSize := r.uint(1)
	r.take(2) // Error.
	status := reader{b: r.take(r.uint(2))}
	r.take(nameSize + 1)
	if r.err != nil {
		return query{}, r.err
	}
	q := query{text: string(r.b)}
	for len(status.b) > 0 && status.err == nil {
		number := status.uint(1)
		size, fixed := statusSizes[number]
		switch {
		case fixed:
			status.take(size)
			q.logged = q.logged || number == statusXID
		case number == statusCatalog:
			status.take(status.uint(1) + 1)
		case number == statusZone || number == statusCatalogNZ:
			status.take(status.uint(1))
		case number == statusInvoker:
			status.take(status.uint(1))
			status.take(status.uint(1))
		case number == statusDatabases:
			count := status.uint(1)
			if count == tooManyDatabases {
				count = 0
			}
			for range count {
				end := slices.Index(status.b, 0)
				status.take(uint64(end + 1))
				if end < 0 {
					status.err = errShort
				}
			}
		default:
			return query{}, fmt.Errorf("a statement carries an unknown status variable %d", number)
		}
	}
	return q, status.err
}
