// Package capture owns what somebody on the links of a network of namespaces can read: it
// has tcpdump write every packet of every link to a file, and tells of each connection
// whether it speaks TLS and whether certain words can be read in it. The reference site
// and the integration tests import it; it knows nothing of either.
//
// Goroutines: one for each tcpdump, which reads what it says until it ends; Stop waits for
// the programs.
package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Capture is tcpdump on every link of a network.
type Capture struct {
	dir  string
	cmds []*exec.Cmd
}

// Start begins on all links whose names begin with that of the network and a dash, and
// writes to files in dir. It returns when every packet from now on is captured. There must
// be so many links at least.
func Start(ctx context.Context, network, dir string, least int) (*Capture, error) {
	links, err := filepath.Glob("/sys/class/net/" + network + "-*")
	if err == nil && len(links) < least {
		err = fmt.Errorf("%d links were to be there", least)
	}
	if err != nil {
		return nil, fmt.Errorf("the links of the network %s are %v: %w", network, links, err)
	}
	c := &Capture{dir: dir}
	for _, link := range links {
		if err := c.start(ctx, filepath.Base(link)); err != nil {
			c.Stop()
			return nil, fmt.Errorf("tcpdump on %s: %w (apt-get install tcpdump)", filepath.Base(link), err)
		}
	}
	return c, nil
}

func (c *Capture) start(ctx context.Context, link string) error {
	cmd := exec.CommandContext(ctx, "tcpdump", "-i", link, "-s", "0", "-U", "--immediate-mode", "-Z", "root", "-B", "16384", "-w", filepath.Join(c.dir, link+".pcap"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // A Ctrl-C reaches it through ctx only.
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	c.cmds = append(c.cmds, cmd)
	// It says that it listens once it does.
	words := bufio.NewReader(said)
	var before []string
	for {
		line, err := words.ReadString('\n')
		if strings.Contains(line, "listening on") {
			break
		}
		before = append(before, strings.TrimSpace(line))
		if err != nil {
			return errors.New(strings.Join(before, " "))
		}
	}
	go io.Copy(io.Discard, words) //nolint:errcheck // until it ends
	return nil
}

// Stop ends the capture. It may be called again.
func (c *Capture) Stop() {
	for _, cmd := range c.cmds {
		_ = cmd.Process.Signal(syscall.SIGINT) // It writes out what it has.
		_ = cmd.Wait()
	}
	c.cmds = nil
}

// Files are what was captured so far, one file for each link.
func (c *Capture) Files() ([]string, error) {
	return filepath.Glob(filepath.Join(c.dir, "*.pcap"))
}
