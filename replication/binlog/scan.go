package binlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// Kind says what a group of events is to crash recovery.
type Kind string

// The kinds.
const (
	// KindTransaction is a transaction that the engine knows by an XID. Where it
	// is only prepared, and the binary log does not have it, crash recovery rolls
	// it back.
	KindTransaction Kind = "transaction"
	// KindStatement is a statement that the engine knows by an XID, such as CREATE
	// TABLE: likewise.
	KindStatement Kind = "statement"
	// KindTorn is a group whose end the file does not have. Crash recovery cuts it
	// off by itself.
	KindTorn Kind = "torn"
	// KindOther is anything else: what it did may have been done at once.
	KindOther Kind = "other"
)

// Group is one transaction or statement, with the events that belong to it.
type Group struct {
	// GTID names it.
	GTID gtid.GTID
	// Start and End are where its events begin and end, in bytes from the
	// beginning of the file.
	Start, End int64
	// Kind says what crash recovery does with it.
	Kind Kind
	// What is, of a statement or an unknown group, what it is.
	What string
}

// File is what one file holds.
type File struct {
	// InUse says that its server has not closed it: it runs, or has died.
	InUse bool
	// ServerStart says that it is the first file of a run of its server.
	ServerStart bool
	// Previous are the transactions before this file, GTIDs those in it.
	Previous, GTIDs gtid.Set
	// HeadEnd is where the events end that say how to read the file.
	HeadEnd int64
	// End is where the last whole event ends; what stands behind it is torn.
	End int64
	// Last is the group that the file ends with, complete or not; its GTID is
	// empty where it has none.
	Last Group
}

// ErrEncrypted is returned for a file that is encrypted.
var ErrEncrypted = errors.New("the binary log is encrypted")

// DamageError is damage before the end of a file, or something in it that is
// not known.
type DamageError struct {
	// Offset is where, in bytes from the beginning of the file.
	Offset int64
	// Cause is what is wrong there.
	Cause error
}

func (e *DamageError) Error() string { return fmt.Sprintf("at byte %d: %v", e.Offset, e.Cause) }

func (e *DamageError) Unwrap() error { return e.Cause }

const (
	// bufferSize is the length of the longest event that is looked at in the
	// buffer, in bytes.
	bufferSize = 64 << 10
	// keptQuery is how much of a statement is kept, keptBody how large any other
	// event may be that is read as a whole.
	keptQuery = 256 << 10
	keptBody  = 64 << 20
	// shownQuery is how much of a statement is told.
	shownQuery = 120
)

var (
	magic     = [4]byte{0xfe, 'b', 'i', 'n'}
	encrypted = [4]byte{0xfd, 'b', 'i', 'n'}
)

// Scan reads a whole file and calls visit for each of its groups, in order, the
// torn last one included. An error of visit ends it. Every other error is a
// failure to read, [ErrEncrypted], or a [*DamageError].
func Scan(r io.Reader, visit func(Group) error) (File, error) { return scan(r, bufferSize, visit) }

// scan reads events that are longer than limit in pieces.
func scan(r io.Reader, limit uint32, visit func(Group) error) (File, error) {
	s := &scanner{r: bufio.NewReaderSize(r, bufferSize+1), limit: limit, visit: visit}
	var first [4]byte
	if n, err := io.ReadFull(s.r, first[:]); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		if n == 0 && errors.Is(err, io.EOF) {
			return File{}, &DamageError{0, errors.New("the file is empty")}
		}
		return File{}, fmt.Errorf("read the binary log: %w", err)
	}
	switch first {
	case magic:
	case encrypted:
		return File{}, ErrEncrypted
	default:
		return File{}, &DamageError{0, errors.New("this is no binary log")}
	}
	s.file.End = int64(len(magic))
	for {
		more, err := s.event()
		if err != nil {
			return s.file, err
		}
		if !more {
			break
		}
	}
	if !s.described {
		return s.file, &DamageError{s.file.End, errors.New("the file does not say its format")}
	}
	if s.open {
		s.group.Kind, s.group.End = KindTorn, s.file.End
		if err := s.close(); err != nil {
			return s.file, err
		}
	}
	s.file.GTIDs = s.gtids.Set()
	return s.file, nil
}

type scanner struct {
	r         *bufio.Reader
	limit     uint32
	visit     func(Group) error
	file      File
	format    format
	described bool
	gtids     gtid.Builder
	// group is the one that is open: its GTID was read and its end was not.
	group Group
	open  bool
	begun bool // It has a BEGIN, so that the events after it belong to it.
}

// damage is what is wrong with the event that begins at the end of what was
// read.
func (s *scanner) damage(format string, args ...any) error {
	return &DamageError{s.file.End, fmt.Errorf(format, args...)}
}

// event reads the next event; more is false at the end of the file, be it torn
// or not.
func (s *scanner) event() (more bool, err error) {
	raw, err := s.peek(headerSize)
	if len(raw) < headerSize || err != nil {
		return false, err
	}
	h := parseHeader(raw)
	switch {
	case h.length == 0:
		if _, err := s.r.Discard(headerSize); err == nil && s.zeros() {
			return false, nil // A crash of the host left room that was never written.
		}
		fallthrough
	case h.length < headerSize:
		return false, s.damage("an event of %d bytes, less than its header has", h.length)
	}
	begin, isLong := s.file.End, s.described && h.length > s.limit
	read := s.short
	if isLong {
		read = s.long
	}
	kept, torn, err := read(h)
	if torn || err != nil {
		return false, err
	}
	s.file.End += int64(h.length)
	if err := s.take(h, kept, begin); err != nil {
		var damage *DamageError
		if !errors.As(err, &damage) && !errors.Is(err, errVisit) {
			err = &DamageError{begin, err}
		}
		return false, err
	}
	if !isLong {
		_, err = s.r.Discard(int(h.length)) // It was buffered until now.
	}
	return err == nil, err
}

// peek returns the next bytes, fewer at the end of the file.
func (s *scanner) peek(n int) ([]byte, error) {
	next, err := s.r.Peek(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the binary log: %w", err)
	}
	return next, nil
}

// zeros tells whether the rest of the file is nothing but zeros.
func (s *scanner) zeros() bool {
	buf := make([]byte, 64<<10)
	for {
		n, err := s.r.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return false
			}
		}
		if err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// kept is what is kept of an event: its body, cut where it is long, or, of a
// compressed transaction, whether it ends with an XID.
type kept struct {
	body  []byte
	begun bool
	xid   bool
}

// short looks at an event that is buffered as a whole, and checks its checksum.
func (s *scanner) short(h header) (k kept, torn bool, err error) {
	if h.length > bufferSize {
		return k, false, s.damage("the file does not begin with its format")
	}
	event, err := s.peek(int(h.length))
	if len(event) < int(h.length) || err != nil {
		return k, true, err
	}
	if !s.described {
		return k, false, s.describe(h, slices.Clone(event))
	}
	if k.body, err = s.content(event[headerSize:]); err != nil {
		return k, false, err
	}
	sum := crc32.ChecksumIEEE(event[:headerSize+len(k.body)])
	if torn, err = s.agree(h, sum, event[headerSize+len(k.body):], int(h.length)+1); torn || err != nil {
		return k, torn, err
	}
	if h.kind == typePayload {
		k.begun, k.xid, err = payload(bytes.NewReader(k.body))
		err = s.packed(err)
	}
	return k, false, err
}

// long reads an event that is too large for the buffer, and checks its checksum.
func (s *scanner) long(h header) (k kept, torn bool, err error) {
	content := &io.LimitedReader{R: s.r, N: int64(h.length)}
	if s.format.checksums {
		content.N -= checksumSize
	}
	if content.N < headerSize {
		return k, false, s.damage("an event without room for its checksum")
	}
	sum := crc32.NewIEEE()
	summed := io.TeeReader(content, sum)
	if _, err = io.CopyN(io.Discard, summed, headerSize); err != nil {
		return k, false, fmt.Errorf("read the binary log: %w", err)
	}
	payloadErr := error(nil)
	switch h.kind {
	case typeGTID, typeTaggedGTID, typePrevious, typeFormat:
		if content.N > keptBody {
			return k, false, s.damage("an event of kind %d with %d bytes", h.kind, h.length)
		}
		k.body = make([]byte, content.N)
		_, err = io.ReadFull(summed, k.body)
	case typeQuery:
		k.body = make([]byte, min(content.N, keptQuery))
		_, err = io.ReadFull(summed, k.body)
	case typePayload:
		k.begun, k.xid, payloadErr = payload(summed)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, summed)
	}
	if err == nil && content.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	var stored []byte
	if s.format.checksums && err == nil {
		stored = make([]byte, checksumSize)
		_, err = io.ReadFull(s.r, stored)
	}
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return k, true, nil
	case err != nil:
		return k, false, fmt.Errorf("read the binary log: %w", err)
	}
	if torn, err = s.agree(h, sum.Sum32(), stored, 1); torn || err != nil {
		return k, torn, err
	}
	return k, false, s.packed(payloadErr)
}

// describe understands the first event, which says how to read the others.
func (s *scanner) describe(h header, event []byte) (err error) {
	if h.kind != typeFormat {
		return s.damage("the file does not begin with its format")
	}
	if s.format, err = parseFormat(event); err != nil {
		return s.damage("%w", err)
	}
	s.described = true
	// The flag is set and removed in place, without the checksum.
	event[17] &^= flagInUse
	at := len(event) - checksumSize
	if s.format.checksums && crc32.ChecksumIEEE(event[:at]) != binary.LittleEndian.Uint32(event[at:]) {
		return s.damage("the checksum of the format is wrong")
	}
	return nil
}

// content returns what stands between an event's header and its checksum.
func (s *scanner) content(body []byte) ([]byte, error) {
	if !s.format.checksums {
		return body, nil
	}
	if len(body) < checksumSize {
		return nil, s.damage("an event without room for its checksum")
	}
	return body[:len(body)-checksumSize], nil
}

// agree compares an event's checksum with the one that is stored, none where the
// file has none. The last event may not have been written whole: it is torn, if
// the file has fewer than more bytes from here.
func (s *scanner) agree(h header, sum uint32, stored []byte, more int) (torn bool, err error) {
	if len(stored) == 0 || sum == binary.LittleEndian.Uint32(stored) {
		return false, nil
	}
	if next, err := s.peek(more); len(next) < more || err != nil {
		return true, err
	}
	return false, s.damage("the checksum of an event of kind %d is wrong", h.kind)
}

func (s *scanner) packed(err error) error {
	if err != nil {
		return s.damage("a compressed transaction: %w", err)
	}
	return nil
}

// take understands an event that was read whole.
func (s *scanner) take(h header, k kept, begin int64) (err error) {
	switch h.kind {
	case typeFormat:
		if begin == int64(len(magic)) {
			s.file.InUse, s.file.ServerStart = s.format.inUse, s.format.serverStart
		}
		s.file.HeadEnd = s.file.End
	case typePrevious:
		s.file.HeadEnd = s.file.End
		s.file.Previous, err = parsePrevious(k.body)
	case typeAnonymousGTID:
		return errors.New("a transaction without GTID")
	case typeGTID:
		return s.begin(k.body, begin, parseGTID)
	case typeTaggedGTID:
		return s.begin(k.body, begin, parseTaggedGTID)
	case typeStop, typeRotate:
		if s.open {
			return errors.New("the file goes on inside a transaction")
		}
	case typeQuery:
		q, err := parseQuery(k.body)
		if err != nil {
			return err
		}
		return s.query(q)
	case typeXID:
		if !s.open || !s.begun {
			return errors.New("a commit without its transaction")
		}
		return s.end(KindTransaction, "")
	case typePayload:
		switch {
		case !s.open:
			return errors.New("a compressed transaction without GTID")
		case k.begun && k.xid:
			return s.end(KindTransaction, "")
		}
		return s.end(KindOther, "a compressed group that the engine does not know")
	case typeXAPrepare:
		if !s.open {
			return errors.New("an XA transaction without GTID")
		}
		return s.end(KindOther, "XA PREPARE")
	default:
		if !s.open || !rowEvents[h.kind] {
			return fmt.Errorf("an event of kind %d where none belongs", h.kind)
		}
	}
	return err
}

// begin opens a group.
func (s *scanner) begin(body []byte, at int64, parse func([]byte) (gtid.GTID, error)) error {
	if s.open {
		return errors.New("a transaction inside another")
	}
	g, err := parse(body)
	if err != nil {
		return err
	}
	if err := s.gtids.Add(g); err != nil {
		return err
	}
	s.group, s.open, s.begun = Group{GTID: g, Start: at}, true, false
	return nil
}

func (s *scanner) query(q query) error {
	switch {
	case !s.open:
		return errors.New("a statement without GTID")
	case !s.begun && (q.text == "BEGIN" || strings.HasPrefix(q.text, "XA START ")):
		s.begun = true
		return nil
	case s.begun && q.text == "COMMIT":
		return s.end(KindOther, "changes of tables that know no transactions")
	case s.begun:
		s.group.What = "a statement in a transaction" // Such as SAVEPOINT; its XID ends it.
		return nil
	}
	text := q.text
	if len(text) > shownQuery {
		text = text[:shownQuery] + "…"
	}
	if q.logged && !movesFiles(q.text) {
		return s.end(KindStatement, text)
	}
	return s.end(KindOther, text)
}

// tablespace matches statements that remove or take files at once: crash recovery
// brings back what the engine knows, and not the files.
var tablespace = regexp.MustCompile(`(?is)\b(DISCARD|IMPORT)\b.*\bTABLESPACE\b`)

// movesFiles tells whether a statement may have done what crash recovery does not
// take back, which cannot be told of one that was not kept whole.
func movesFiles(text string) bool { return len(text) > keptQuery/2 || tablespace.MatchString(text) }

func (s *scanner) end(kind Kind, what string) error {
	s.group.Kind, s.group.What, s.group.End = kind, what, s.file.End
	return s.close()
}

// errVisit marks an error of the caller's own.
var errVisit = errors.New("visiting a transaction")

func (s *scanner) close() error {
	s.open = false
	s.file.Last = s.group
	if err := s.visit(s.group); err != nil {
		return fmt.Errorf("%w %s: %w", errVisit, s.group.GTID, err)
	}
	return nil
}

// The fields before a compressed transaction, and the ways it may be packed.
const (
	payloadEnd         = 0
	payloadCompression = 2
	packedZstd         = 0
	packedNot          = 255
	// packedMemory bounds what unpacking may take.
	packedMemory = 256 << 20
)

// payload tells whether a compressed transaction begins with BEGIN and ends with
// an XID.
func payload(r io.Reader) (begun, xid bool, err error) {
	b := bufio.NewReader(r)
	packed := func() uint64 {
		var first [9]byte
		if err == nil {
			_, err = io.ReadFull(b, first[:1])
		}
		more := map[byte]int{252: 2, 253: 3, 254: 8}[first[0]]
		if err == nil {
			_, err = io.ReadFull(b, first[1:1+more])
		}
		n := reader{b: first[:]}
		return n.packed()
	}
	compression := uint64(packedZstd)
	for {
		field := packed()
		if err != nil {
			return false, false, err
		}
		if field == payloadEnd {
			break
		}
		size := packed()
		if err != nil || size > 9 {
			return false, false, errors.Join(err, fmt.Errorf("field %d has %d bytes", field, size))
		}
		value := packed()
		if err != nil {
			return false, false, err
		}
		if field == payloadCompression {
			compression = value
		}
	}
	var events io.Reader = b
	switch compression {
	case packedZstd:
		unpacked, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(packedMemory), zstd.WithDecoderLowmem(true))
		if err != nil {
			return false, false, err
		}
		defer unpacked.Close()
		events = unpacked
	case packedNot:
	default:
		return false, false, fmt.Errorf("it is packed in an unknown way %d", compression)
	}
	return unpackedEvents(events)
}

// unpackedEvents walks over the events of a compressed transaction, which have
// no checksums.
func unpackedEvents(events io.Reader) (begun, xid bool, err error) {
	raw := make([]byte, headerSize)
	for first := true; ; first = false {
		switch _, err := io.ReadFull(events, raw); {
		case errors.Is(err, io.EOF):
			return begun, xid, nil
		case err != nil:
			return false, false, err
		}
		h := parseHeader(raw)
		if h.length < headerSize {
			return false, false, fmt.Errorf("an event of %d bytes", h.length)
		}
		size := int64(h.length) - headerSize
		xid = h.kind == typeXID
		if first && h.kind == typeQuery && size <= keptQuery {
			body := make([]byte, size)
			if _, err := io.ReadFull(events, body); err != nil {
				return false, false, err
			}
			q, err := parseQuery(body)
			if err != nil {
				return false, false, err
			}
			begun = q.text == "BEGIN"
			continue
		}
		if _, err := io.CopyN(io.Discard, events, size); err != nil {
			return false, false, err
		}
	}
}

// Extract writes a file that holds only the chosen groups of another and can be
// read like it, and returns how many those are. What stands between groups is
// left out.
func Extract(from io.ReaderAt, size int64, chosen func(gtid.GTID) bool, to io.Writer) (int, error) {
	var groups []Group
	f, err := Scan(io.NewSectionReader(from, 0, size), func(g Group) error {
		if chosen(g.GTID) {
			groups = append(groups, g)
		}
		return nil
	})
	if err != nil || len(groups) == 0 {
		return 0, err
	}
	parts := []io.Reader{io.NewSectionReader(from, 0, f.HeadEnd)}
	for _, g := range groups {
		parts = append(parts, io.NewSectionReader(from, g.Start, g.End-g.Start))
	}
	if _, err := io.Copy(to, io.MultiReader(parts...)); err != nil {
		return 0, fmt.Errorf("extract from the binary log: %w", err)
	}
	return len(groups), nil
}
