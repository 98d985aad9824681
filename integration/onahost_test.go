//go:build security || reference

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/deploy/reference/scan"
)

// inNamespace makes a command that runs in a network namespace, on this machine itself
// where none is named.
func inNamespace(ctx context.Context, namespace, program string, args ...string) *exec.Cmd {
	if namespace == "" {
		return exec.CommandContext(ctx, program, args...)
	}
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", namespace, program}, args...)...)
}

// onAHost runs this test binary in a network namespace, as TestOnAHost does; what it says
// is in out. It ends with the test, or when in is closed.
func onAHost(t *testing.T, namespace, doing string, with any) (in io.WriteCloser, out *bufio.Reader) {
	t.Helper()
	text, err := json.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	cmd := inNamespace(context.Background(), namespace, os.Args[0], "-test.run=^TestOnAHost$")
	cmd.Env = append(os.Environ(), "ON_A_HOST="+doing, "ON_A_HOST_WITH="+string(text))
	cmd.Stderr = os.Stderr
	in, err = cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // It ends with its input.
	})
	return in, bufio.NewReader(pipe)
}

// TestOnAHost is the program that onAHost runs. It ends with its input.
func TestOnAHost(t *testing.T) {
	doing, with := os.Getenv("ON_A_HOST"), []byte(os.Getenv("ON_A_HOST_WITH"))
	programs := map[string]func(*testing.T, []byte){"listen": listenOnAHost, "scan": scanOnAHost, "crowd": crowdOnAHost, "talk": talkOnAHost, "flood": floodOnAHost}
	if do, known := programs[doing]; known {
		do(t, with)
	}
}

func decodeTask(t *testing.T, with []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(with, into); err != nil {
		t.Fatal(err)
	}
}

// say prints a line of JSON.
func say(t *testing.T, what any) {
	t.Helper()
	text, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(text))
}

// listenOnAHost listens on ports, and holds what comes.
func listenOnAHost(t *testing.T, with []byte) {
	var ports []int
	decodeTask(t, with, &ports)
	for _, port := range ports {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go io.Copy(c, c) //nolint:errcheck // an echo
			}
		}()
	}
	fmt.Println("listening")
	io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is what counts
}

// scanOnAHost tries addresses all at once, and says what became of each.
func scanOnAHost(t *testing.T, with []byte) {
	var task scan.Task
	decodeTask(t, with, &task)
	say(t, scan.Run(task))
}

// scanFrom tells what becomes of attempts to connect from a namespace.
func scanFrom(t *testing.T, namespace string, task scan.Task) (found map[string]string) {
	t.Helper()
	in, out := onAHost(t, namespace, "scan", task)
	defer in.Close()
	if err := json.NewDecoder(out).Decode(&found); err != nil {
		t.Fatal(err)
	}
	return found
}

// crowdOnAHost opens many connections to one address, holds them, and says how many there
// are.
func crowdOnAHost(t *testing.T, with []byte) {
	var crowd struct {
		To    string
		Count int
	}
	decodeTask(t, with, &crowd)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var open []net.Conn
	for range crowd.Count {
		wg.Go(func() {
			c, err := net.DialTimeout("tcp", crowd.To, time.Second)
			if err == nil {
				mu.Lock()
				open = append(open, c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	fmt.Println(len(open))
	io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is what counts
}

// talkOnAHost says something each time a line comes, and what comes back.
func talkOnAHost(t *testing.T, with []byte) {
	var to string
	decodeTask(t, with, &to)
	c, err := net.DialTimeout("tcp", to, 2*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("connected")
	lines := bufio.NewScanner(os.Stdin)
	back := bufio.NewReader(c)
	for lines.Scan() {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		_, err := fmt.Fprintln(c, lines.Text())
		answer := ""
		if err == nil {
			answer, err = back.ReadString('\n')
		}
		fmt.Println(strings.TrimSpace(answer), err)
	}
}

// flood is an attack: so many attempts at a time, from one address.
type flood struct {
	To, From string
	AtOnce   int
	// Hold keeps what is opened; else it is closed at once.
	Hold bool
}

// flooded is what came of it.
type flooded struct {
	// Outcomes counts the attempts by what became of them, MostOpen is how many
	// connections were open at the same time.
	Outcomes map[string]int
	MostOpen int
	Took     time.Duration
}

// floodOnAHost attacks as fast as it can, says so with the first that gets through, and at
// the end of its input what came of it. It has what the processor has to spare: a real
// attacker's processor is not that of the site.
func floodOnAHost(t *testing.T, with []byte) {
	var f flood
	decodeTask(t, with, &f)
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19); err != nil {
		t.Fatal(err)
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(f.From)}, Timeout: time.Second}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var mu sync.Mutex
	var wg sync.WaitGroup
	came := flooded{Outcomes: make(map[string]int)}
	var held []net.Conn
	open, begun := 0, time.Now()
	for range f.AtOnce {
		wg.Go(func() {
			for ctx.Err() == nil {
				c, err := dialer.DialContext(ctx, "tcp", f.To)
				if ctx.Err() != nil {
					if err == nil {
						c.Close()
					}
					return
				}
				mu.Lock()
				if came.Outcomes[scan.Outcome(err)]++; err == nil {
					if open++; len(held) == 0 && came.Outcomes[scan.Connected] == 1 {
						fmt.Println("it has begun")
					}
					came.MostOpen = max(came.MostOpen, open)
					if f.Hold {
						held = append(held, c)
					}
				}
				mu.Unlock()
				if err == nil && !f.Hold {
					c.Close()
					mu.Lock()
					open--
					mu.Unlock()
				}
			}
		})
	}
	io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is what counts
	stop()
	wg.Wait()
	came.Took = time.Since(begun)
	for _, c := range held {
		c.Close()
	}
	say(t, came)
}

func line(t *testing.T, out *bufio.Reader) string {
	t.Helper()
	text, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("a helper ended: %v", err)
	}
	return strings.TrimSpace(text)
}
