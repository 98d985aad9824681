package api

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Caller is who asks, as far as that was proven: by a certificate of the cluster's CA or
// by a token.
type Caller struct {
	certs.Identity
	// Token says that a token proved it.
	Token bool
}

// String is the caller in words, such as "operator ann".
func (c Caller) String() string {
	if c.Role == "" {
		if c.Name == "" {
			return "nobody"
		}
		return c.Name + " without a role"
	}
	return c.Role.Short() + " " + c.Name
}

// need is what an operation asks of its caller.
type need int

const (
	// anyone may ask: load balancers do it without a certificate.
	anyone need = iota
	// reading is for everybody, or for those with a role, as Options say.
	reading
	// examining costs the servers something: it is for those with a role.
	examining
	// changing is for operators, and for daemons that hand a request on.
	changing
)

// readers are the roles that may look, changers those that may ask for changes.
var (
	readers  = []certs.Role{certs.RoleMember, certs.RoleRedirector, certs.RoleOperator, certs.RoleReader}
	changers = []certs.Role{certs.RoleMember, certs.RoleOperator}
)

// callerOf tells who asks. A token that is shown must be good, also where none is needed:
// one that has ended must not go unnoticed.
func (h *handler) callerOf(r *http.Request) (Caller, error) {
	if text := r.Header.Get("Authorization"); text != "" {
		token, bearer := strings.CutPrefix(text, "Bearer ")
		if !bearer || h.options.Tokens == nil {
			return Caller{}, errors.New("this endpoint knows no such way to prove who you are: use a client certificate, or a token where api.tokens_file is set")
		}
		return h.options.Tokens.caller(token, time.Now())
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Caller{}, nil
	}
	return Caller{Identity: certs.IdentityOf(r.TLS.PeerCertificates[0])}, nil // It was verified in the handshake.
}

// refusal says why a caller may not do it; false when he may.
func (h *handler) refusal(r *http.Request, who Caller, what need) (Problem, bool) {
	var roles []certs.Role
	switch {
	case what == changing:
		roles = changers
	case what == examining, what == reading && h.options.ReadsNeedRole:
		roles = readers
	}
	doing := r.Method + " " + shorten(r.URL.Path)
	switch {
	case roles == nil || slices.Contains(roles, who.Role):
		return Problem{}, false
	case who == Caller{}:
		return Problem{Status: http.StatusForbidden, Code: decide.CodeCertificateNeeded, Detail: doing + " needs a client certificate of the cluster's CA, or a token"}, true
	}
	names := make([]string, len(roles))
	for i, role := range roles {
		names[i] = role.Short()
	}
	return Problem{Status: http.StatusForbidden, Code: decide.CodeRoleNeeded,
		Detail: fmt.Sprintf("%s is for %s, and you are %s", doing, strings.Join(names, ", "), who)}, true
}

// CallerAnswer is whom the endpoint takes a caller for, and what he may do.
type CallerAnswer struct {
	// Name and Role are proven, empty where nothing is.
	Name string `json:"name"`
	Role string `json:"role"`
	// Reads and Changes tell whether he may look, and ask for changes.
	Reads   bool `json:"reads"`
	Changes bool `json:"changes"`
}

// caller tells a caller whom he is taken for.
func (h *handler) caller(w http.ResponseWriter, r *http.Request, _ Caller) {
	who, err := h.callerOf(r)
	if err != nil {
		refuseToken(w, r, err)
		return
	}
	_, noReads := h.refusal(r, who, reading)
	_, noChanges := h.refusal(r, who, changing)
	write(w, r, http.StatusOK, CallerAnswer{Name: who.Name, Role: who.Role.Short(), Reads: !noReads, Changes: !noChanges})
}

// sign writes into a request by whom it was made. A daemon hands on what others have
// asked it for; of everybody else the name that was proven comes first.
func sign[Want any](want *Want, who Caller) {
	by := reflect.ValueOf(want).Elem().FieldByName("By")
	if !by.IsValid() || who.Role == certs.RoleMember {
		return
	}
	says := shorten(by.String())
	switch {
	case says == "":
		by.SetString(who.Name)
	default:
		by.SetString(who.Name + " (" + says + ")")
	}
}
