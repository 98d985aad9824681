package certs

import (
	"crypto/x509"
	"slices"
	"strings"
)

// Role is what the holder of a certificate is for a cluster: the common name of its
// subject. Etcd takes the same name as that of a user.
type Role string

// The roles. A certificate of the same authority with another common name proves its
// host names to whoever asks, and has no rights.
const (
	// RoleMember is a daemon beside a server, a witness, or a member of etcd: it may
	// write what stands in etcd and ask other daemons for changes.
	RoleMember Role = "mysqlha-member"
	// RoleRedirector is a daemon that only redirects: it may read what stands in etcd.
	RoleRedirector Role = "mysqlha-redirector"
	// RoleOperator is a person or a program that may ask for changes.
	RoleOperator Role = "mysqlha-operator"
	// RoleReader is a person or a program that may look, such as the monitoring.
	RoleReader Role = "mysqlha-reader"
	// RoleMysqld is a mysqld, towards its clients and towards its source.
	RoleMysqld Role = "mysqlha-mysqld"
)

// Roles returns all of them.
func Roles() []Role {
	return []Role{RoleMember, RoleRedirector, RoleOperator, RoleReader, RoleMysqld}
}

// rolePrefix begins the common name of every role.
const rolePrefix = "mysqlha-"

// Short is the role as people write it, such as operator.
func (r Role) Short() string { return strings.TrimPrefix(string(r), rolePrefix) }

// RoleNamed returns the role that people write so; it may be none of Roles.
func RoleNamed(short string) Role { return Role(rolePrefix + short) }

// Daemons returns the roles that a daemon may have towards who asks it over HTTPS.
func Daemons() []Role { return []Role{RoleMember, RoleRedirector} }

// Serves tells whether the role listens, so that its certificate must name its hosts.
func (r Role) Serves() bool {
	return r == RoleMember || r == RoleRedirector || r == RoleMysqld
}

// Identity is who holds a certificate.
type Identity struct {
	// Role is one of Roles, or empty for a holder without rights.
	Role Role
	// Name tells people whose it is: the organizational unit of the subject of a
	// certificate with a role, else the common name.
	Name string
}

// IdentityOf reads a certificate that has been verified.
func IdentityOf(c *x509.Certificate) Identity {
	role := Role(c.Subject.CommonName)
	if !slices.Contains(Roles(), role) {
		return Identity{Name: c.Subject.CommonName}
	}
	if len(c.Subject.OrganizationalUnit) == 0 {
		return Identity{Role: role, Name: string(role)}
	}
	return Identity{Role: role, Name: c.Subject.OrganizationalUnit[0]}
}
