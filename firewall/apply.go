package firewall

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// What the guardian and who has started it say to each other.
const (
	wordReady = "ready"
	wordKeep  = "keep"
	wordBack  = "back"
)

// loadTimeout bounds one call of nft.
const loadTimeout = 10 * time.Second

// Guardian brings the former rules back unless it hears in time that the new ones are to
// stay: it is a process of its own, in a session of its own, so that it outlives the
// terminal of whoever has locked himself out. It is what `mysqlha firewall guardian` runs.
//
// It reads a word from in, and writes one to out when it has taken a snapshot, and
// another when it has brought that back.
func Guardian(ctx context.Context, within time.Duration, in io.Reader, out io.Writer) error {
	former, err := Snapshot(ctx)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, wordReady); err != nil {
		return err
	}
	heard := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // Its end is a word, too.
		heard <- strings.TrimSpace(line)
	}()
	select {
	case word := <-heard:
		if word == wordKeep {
			return nil
		}
	case <-time.After(within):
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	if err = Load(ctx, former); err == nil {
		_, _ = fmt.Fprintln(out, wordBack) // Nobody may be there any more.
	}
	return err
}

// Trial is a change of the rules that is taken back unless it is kept.
type Trial struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// Try loads rules under the eyes of a guardian: program, with arguments that make it call
// Guardian.
func Try(ctx context.Context, rules string, program string, args ...string) (*Trial, error) {
	if _, err := Canonical(ctx, rules); err != nil { // What is wrong is told before anything is changed.
		return nil, err
	}
	t := &Trial{cmd: exec.Command(program, args...)} // Not bound to ctx: it must outlive us.
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	t.cmd.Stderr = os.Stderr
	in, err := t.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err == nil {
		err = t.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("starting who would bring the former rules back: %w", err)
	}
	t.in, t.out = in, bufio.NewReader(out)
	if word, err := t.out.ReadString('\n'); err != nil || strings.TrimSpace(word) != wordReady {
		return nil, errors.Join(errors.New("nobody would bring the former rules back: nothing was changed"), t.in.Close(), t.cmd.Wait())
	}
	if err := Load(ctx, rules); err != nil {
		return nil, errors.Join(err, t.Revert())
	}
	return t, nil
}

// ErrTakenBack: it was too late, the former rules are back.
var ErrTakenBack = errors.New("it was not confirmed in time: the former rules are back")

// Keep has the new rules stay.
func (t *Trial) Keep() error {
	_, err := io.WriteString(t.in, wordKeep+"\n")
	word, _ := t.out.ReadString('\n')
	wait := t.cmd.Wait()
	if strings.TrimSpace(word) == wordBack || err != nil {
		return ErrTakenBack
	}
	return wait
}

// Revert brings the former rules back at once.
func (t *Trial) Revert() error {
	return errors.Join(t.in.Close(), t.cmd.Wait())
}
