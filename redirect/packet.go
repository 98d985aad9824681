package redirect

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"
)

// MySQL's own numbers for what the redirector has to say. From them clients derive the SQLSTATEs 08004 and 08S01.
const (
	errTooManyConnections uint16 = 1040 // ER_CON_COUNT_ERROR
	errServerShutdown     uint16 = 1053 // ER_SERVER_SHUTDOWN
	errInsecureTransport  uint16 = 3159 // ER_SECURE_TRANSPORT_REQUIRED
)

// refuseTimeout bounds the writing of an error packet. A fresh connection has room for it, so nothing ever waits.
const refuseTimeout = time.Second

// maxMessage is the length of MySQL's longest error message, in bytes.
const maxMessage = 512

// refuse sends a client an error in place of the greeting it waits for. A client that cannot be told has gone, which
// is all right, so there is no error to return.
func refuse(client *net.TCPConn, code uint16, format string, args ...any) {
	if client.SetWriteDeadline(time.Now().Add(refuseTimeout)) == nil {
		_, _ = client.Write(errorPacket(code, fmt.Sprintf(format, args...)))
	}
}

// errorPacket is an ERR packet as mysqld sends it before its greeting: sequence number 0, and without the '#' and
// SQLSTATE of later ones, because client and server have not agreed on protocol 4.1 yet; a client would take them for
// a part of the message (net_send_error in sql/protocol_classic.cc, cli_safe_read in sql-common/client.cc).
func errorPacket(code uint16, message string) []byte {
	message = message[:min(len(message), maxMessage)]
	length := 1 + 2 + len(message)
	packet := []byte{byte(length), byte(length >> 8), byte(length >> 16), 0, 0xff}
	packet = binary.LittleEndian.AppendUint16(packet, code)
	return append(packet, message...)
}
