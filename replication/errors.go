package replication

import (
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"
)

// The refusals that callers branch on. They come wrapped, with the server and
// what was being done.
var (
	// ErrUnapplied: transactions were received that are not yet executed, and
	// the step would lose them or must not run before they are applied.
	ErrUnapplied = errors.New("received transactions are not applied yet")
	// ErrReceiving: the receiver is not stopped.
	ErrReceiving = errors.New("the receiver is not stopped")
	// ErrApplierBroken: the applier stopped with an error; an *ApplierError in
	// the same chain carries it.
	ErrApplierBroken = errors.New("the applier is broken")
	// ErrNotPrepared: something that had to be done before is not done, such as
	// a plugin that is not loaded, an account that does not exist, or
	// super_read_only that is still on.
	ErrNotPrepared = errors.New("the server is not prepared")
	// ErrNotConfigured: the server has no source.
	ErrNotConfigured = errors.New("no replication source is configured")
	// ErrOpen: the server is writable by clients (read_only is off) and a step
	// is for a closed one.
	ErrOpen = errors.New("the server is open for writes")
	// ErrNotAsAsked: what was read back is not what was set.
	ErrNotAsAsked = errors.New("the server did not take what was asked")
)

// ApplierError is the error with which the applier stopped. errors.Is reports
// it as ErrApplierBroken.
type ApplierError struct {
	// Server is where, Errno and Text are MySQL's.
	Server string
	Errno  int
	Text   string
}

// Error tells the server's own error.
func (e *ApplierError) Error() string {
	return fmt.Sprintf("the applier of %s stopped with error %d: %s", e.Server, e.Errno, e.Text)
}

// Is makes every ApplierError an ErrApplierBroken.
func (e *ApplierError) Is(target error) bool { return target == ErrApplierBroken }

// The server's error numbers that decide something here.
const (
	errTooManyConnections  = 1040 // ER_CON_COUNT_ERROR
	errDBAccess            = 1044 // ER_DBACCESS_DENIED_ERROR
	errAccess              = 1045 // ER_ACCESS_DENIED_ERROR
	errNoSuchDatabase      = 1049 // ER_BAD_DB_ERROR
	errNoSuchThread        = 1094 // ER_NO_SUCH_THREAD
	errHostBlocked         = 1129 // ER_HOST_IS_BLOCKED
	errHostNotPrivileged   = 1130 // ER_HOST_NOT_PRIVILEGED
	errTableAccess         = 1142 // ER_TABLEACCESS_DENIED_ERROR
	errNoSuchTable         = 1146 // ER_NO_SUCH_TABLE
	errUnknownVariable     = 1193 // ER_UNKNOWN_SYSTEM_VARIABLE
	errNotReplica          = 1200 // ER_BAD_REPLICA
	errTooManyOfUser       = 1203 // ER_TOO_MANY_USER_CONNECTIONS
	errUserLimit           = 1226 // ER_USER_LIMIT_REACHED
	errPrivilege           = 1227 // ER_SPECIFIC_ACCESS_DENIED_ERROR
	errReadOnly            = 1290 // ER_OPTION_PREVENTS_STATEMENT
	errAccessNoPassword    = 1698 // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
	errReadOnlyMode        = 1836 // ER_READ_ONLY_MODE
	errPasswordExpired     = 1862 // ER_MUST_CHANGE_PASSWORD_LOGIN
	errOffline             = 3032 // ER_SERVER_OFFLINE_MODE
	errAccountLocked       = 3118 // ER_ACCOUNT_HAS_BEEN_LOCKED
	errTLSRequired         = 3159 // ER_SECURE_TRANSPORT_REQUIRED
	errAccountBlockedLogin = 3955 // ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK
)

// IsReadOnlyError reports whether the server refused a statement because of
// read_only or super_read_only.
func IsReadOnlyError(err error) bool {
	n := serverErrno(err)
	return n == errReadOnly || n == errReadOnlyMode
}

// serverErrno returns the number of the server's error in the chain, 0 if none.
func serverErrno(err error) uint16 {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}
