package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"runtime"
	"time"
)

// sessionTime is how long a session lasts.
const sessionTime = 12 * time.Hour

// rounds make it slow to try passwords.
const rounds = 200_000

func newSalt() []byte {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // It never fails.
	return salt
}

// stretchers bound how many passwords are stretched at a time: that many signing in at once
// must not take the processor from everybody who orders.
type stretchers chan struct{}

func newStretchers() stretchers { return make(stretchers, max(1, runtime.GOMAXPROCS(0)/2)) }

// stretch is the stretch of a password in its turn.
func (s stretchers) stretch(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case s <- struct{}{}:
		defer func() { <-s }()
		return stretch(password, salt), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// stretch is what is kept of a password.
func stretch(password string, salt []byte) []byte {
	key, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		panic(err) // Only for lengths that are none.
	}
	return key
}

func same(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// newToken returns a session's token and what is kept of it: who reads the database
// cannot use it.
func newToken() (token string, hash []byte) {
	token = rand.Text()
	return token, hashOf(token)
}

func hashOf(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
