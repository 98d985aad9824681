package replication

import (
	"crypto/sha256"
	"errors"
	"regexp"
	"strings"
)

const (
	// hashRounds is caching_sha2_password's 005, in thousands, that every
	// supported version reads.
	hashRounds   = 5000
	hashPrefix   = "$A$005$"
	hashSaltSize = 20
	// hashAlphabet has 64 characters, none of which needs quoting anywhere. It
	// serves the salt and, in this order, the digest.
	hashAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	// maxPassword is MySQL's own limit in bytes.
	maxPassword = 255
)

var hashPattern = regexp.MustCompile(`^\$A\$[0-9A-F]{3}\$[./0-9A-Za-z]{63}$`)

func validHash(hash string) bool { return hashPattern.MatchString(hash) }

// HashPassword returns what MySQL stores of a password for the plugin
// caching_sha2_password, for CREATE USER … IDENTIFIED WITH caching_sha2_password AS
// '…'. It needs no quoting. The salt comes from the password itself, so that the hash
// is the same each time: our passwords are random, and each is one account's. An empty
// password and one of more than 255 bytes are refused.
func HashPassword(password string) (string, error) {
	if password == "" || len(password) > maxPassword {
		return "", errors.New("a password must have 1 to 255 bytes")
	}
	seed := sha256.Sum256([]byte("mysqlha salt\x00" + password))
	salt := seed[:hashSaltSize]
	for i := range salt {
		salt[i] = hashAlphabet[salt[i]%byte(len(hashAlphabet))]
	}
	return hashPrefix + string(salt) + encodeDigest(cryptSHA256([]byte(password), salt, hashRounds)), nil
}

// cryptSHA256 is the SHA-256 crypt of Ulrich Drepper's "Unix crypt using
// SHA-256 and SHA-512", with MySQL's longer salt.
func cryptSHA256(password, salt []byte, rounds int) [sha256.Size]byte {
	b := sha256.Sum256(concat(password, salt, password))

	a := sha256.New()
	a.Write(concat(password, salt, repeat(b[:], len(password))))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			a.Write(b[:])
		} else {
			a.Write(password)
		}
	}
	var digest [sha256.Size]byte
	a.Sum(digest[:0])

	dp := sha256.New()
	for range password {
		dp.Write(password)
	}
	p := repeat(dp.Sum(nil), len(password))
	ds := sha256.New()
	for range 16 + int(digest[0]) {
		ds.Write(salt)
	}
	s := repeat(ds.Sum(nil), len(salt))

	for i := range rounds {
		c := sha256.New()
		if i&1 != 0 {
			c.Write(p)
		} else {
			c.Write(digest[:])
		}
		if i%3 != 0 {
			c.Write(s)
		}
		if i%7 != 0 {
			c.Write(p)
		}
		if i&1 != 0 {
			c.Write(digest[:])
		} else {
			c.Write(p)
		}
		c.Sum(digest[:0])
	}
	return digest
}

// repeat returns the first n bytes of block repeated without end.
func repeat(block []byte, n int) []byte {
	out := make([]byte, 0, n+len(block))
	for len(out) < n {
		out = append(out, block...)
	}
	return out[:n]
}

func concat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// encodeDigest writes a digest in crypt's base 64: triples of bytes that lie
// ten apart, lowest six bits first.
func encodeDigest(d [sha256.Size]byte) string {
	var out strings.Builder
	emit := func(v uint32, chars int) {
		for range chars {
			out.WriteByte(hashAlphabet[v&63])
			v >>= 6
		}
	}
	x, y, z := 0, 10, 20
	for range 10 {
		emit(uint32(d[x])<<16|uint32(d[y])<<8|uint32(d[z]), 4)
		x, y, z = z+1, x+1, y+1
	}
	emit(uint32(d[31])<<8|uint32(d[30]), 3)
	return out.String()
}
