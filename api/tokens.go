package api

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/mysqlha/mysqlha/certs"
)

// tokenPrefix marks our tokens, so that whoever finds one knows what it opens.
const tokenPrefix = "mysqlha_"

// dateOnly is how the end of a token is written.
const dateOnly = time.DateOnly

// Tokens are those of a file, which may change while the daemon runs. The file has
// their hashes alone, one token in a line: name, role, SHA-256 in hex, last day. It is
// safe for concurrent use.
type Tokens struct {
	path string
	// tell hears of a file that cannot be used, once for each state of it; the tokens
	// are then all refused.
	tell func(error)

	mu     sync.Mutex
	read   bool
	seen   os.FileInfo
	all    map[[sha256.Size]byte]token
	broken error
}

// token is one line.
type token struct {
	certs.Identity
	// last is the end of its last day.
	last time.Time
}

var errToken = errors.New("the token is not known, or has ended: mysqlha token new makes one")

// OpenTokens returns the tokens of a file; tell, if not nil, hears of a file that cannot
// be used, at once where that is so now. A daemon goes on without tokens then.
func OpenTokens(path string, tell func(error)) *Tokens {
	t := &Tokens{path: path, tell: tell}
	_, _ = t.current() // It has told.
	return t
}

// caller tells who holds a token.
func (t *Tokens) caller(text string, now time.Time) (Caller, error) {
	all, err := t.current()
	if err != nil {
		return Caller{}, errToken // Why is the daemon's affair.
	}
	one, known := all[sha256.Sum256([]byte(text))] // A search by the hash tells nobody how near he was.
	if !known || now.After(one.last) {
		return Caller{}, errToken
	}
	return Caller{Identity: one.Identity, Token: true}, nil
}

// current reads the file anew where it has changed.
func (t *Tokens) current() (map[[sha256.Size]byte]token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err == nil && t.read && t.seen != nil && os.SameFile(info, t.seen) && info.Size() == t.seen.Size() && info.ModTime().Equal(t.seen.ModTime()) {
		return t.all, t.broken
	}
	before := t.broken
	t.read, t.seen, t.all = true, info, nil
	if err == nil {
		t.all, err = readTokens(t.path)
	}
	t.broken = err
	if err != nil && t.tell != nil && (before == nil || before.Error() != err.Error()) {
		t.tell(err)
	}
	return t.all, err
}

func readTokens(path string) (map[[sha256.Size]byte]token, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o022 != 0 {
		err = fmt.Errorf("others may write %s (mode %04o): chmod 0644 it", path, info.Mode().Perm())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the tokens: %w", err)
	}
	all := make(map[[sha256.Size]byte]token)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		hash, one, err := parseToken(line)
		if err != nil {
			return nil, fmt.Errorf("reading the tokens: %s:%d: %w", path, n, err)
		}
		all[hash] = one
	}
	return all, lines.Err()
}

func parseToken(line string) (hash [sha256.Size]byte, one token, err error) {
	fields := strings.Fields(line)
	if len(fields) != 4 {
		return hash, one, errors.New("write name, role, SHA-256 in hex and last day, such as 2027-01-31")
	}
	if one.Role, err = tokenRole(fields[1]); err != nil {
		return hash, one, err
	}
	raw, err := hex.DecodeString(fields[2])
	if err != nil || len(raw) != sha256.Size {
		return hash, one, fmt.Errorf("the hash must be %d hexadecimal digits", 2*sha256.Size)
	}
	day, err := time.Parse(dateOnly, fields[3])
	if err != nil {
		return hash, one, errors.New("the last day must be written like 2027-01-31")
	}
	one.Name, one.last = fields[0], day.AddDate(0, 0, 1)
	return [sha256.Size]byte(raw), one, nil
}

// tokenRole is a role that a token may have: daemons have certificates.
func tokenRole(text string) (certs.Role, error) {
	role := certs.RoleNamed(text)
	if role != certs.RoleOperator && role != certs.RoleReader {
		return "", fmt.Errorf("the role %q is none of a token: write operator or reader", shorten(text))
	}
	return role, nil
}

// NewToken makes a token and adds its hash to a file, which it makes if needed; a former
// token of that name is replaced. The token is returned and kept nowhere.
func NewToken(path, name, role string, last time.Time) (string, error) {
	if name == "" || len(strings.Fields(name)) != 1 || strings.HasPrefix(name, "#") {
		return "", fmt.Errorf("making a token: %q is no name: write one word", shorten(name))
	}
	if _, err := tokenRole(role); err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	secret := tokenPrefix + rand.Text()
	hash := sha256.Sum256([]byte(secret))
	line := fmt.Sprintf("%s %s %x %s", name, role, hash, last.UTC().Format(dateOnly))
	return secret, changeTokens(path, name, line)
}

// DropToken takes the token of that name out of a file.
func DropToken(path, name string) error { return changeTokens(path, name, "") }

// ListedToken is one line of a file of tokens.
type ListedToken struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// Last is its last day; Ended says that it is over.
	Last  string `json:"last_day"`
	Ended bool   `json:"ended,omitempty"`
}

// ListTokens lists the tokens of a file by name.
func ListTokens(path string) ([]ListedToken, error) {
	all, err := readTokens(path)
	if err != nil {
		return nil, err
	}
	list := make([]ListedToken, 0, len(all))
	for _, one := range all {
		list = append(list, ListedToken{Name: one.Name, Role: one.Role.Short(),
			Last: one.last.AddDate(0, 0, -1).Format(dateOnly), Ended: time.Now().After(one.last)})
	}
	slices.SortFunc(list, func(a, b ListedToken) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// changeTokens replaces the line of a name; an empty line takes it out, and must find it.
func changeTokens(path, name, line string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && line != "" {
		text, err = []byte("# Who may use the HTTPS endpoint by token: name, role, SHA-256 of the token, last day.\n"), nil
	}
	if err != nil {
		return fmt.Errorf("changing the tokens: %w", err)
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	kept := slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		fields := strings.Fields(l)
		return len(fields) > 0 && fields[0] == name
	})
	if line == "" && len(kept) == len(lines) {
		return fmt.Errorf("changing the tokens: %s has none of the name %q", path, shorten(name))
	}
	if line != "" {
		kept = append(kept, line)
	}
	// Everybody may read it: it has hashes of random tokens alone, and the daemon is not
	// the one who writes it.
	if err := renameio.WriteFile(path, []byte(strings.Join(kept, "\n")+"\n"), 0o644, renameio.WithStaticPermissions(0o644)); err != nil {
		return fmt.Errorf("changing the tokens: %w", err)
	}
	return nil
}
