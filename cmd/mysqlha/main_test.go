package main

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mysqlha": main,
	})
}

func TestCommandLine(t *testing.T) {
	healthyAt, downAt := daemonFor(t, healthy()), daemonFor(t, failingOver())
	slow := healthy()
	slow.Name = hangs
	hangsAt := daemonFor(t, slow)
	paused := healthy()
	paused.Pause = &decide.Pause{Reason: "patching db1", By: "ann@ops", Since: night}
	paused.Decision.Outlook = &decide.Outlook{From: "db1", OutOfReach: []string{"db2"}, Doubts: []string{"db2 may have acknowledged what nobody else has"}, To: "db3", AtStake: gtid.MustParse(first + ":4999-5000")}
	pausedAt := daemonFor(t, paused)
	byHand := healthy()
	byHand.Record = nil
	byHand.Decision.Beginning = &decide.Beginning{Adopt: true, Primary: "db1", Changes: []string{"db1: the schema mysqlha and the accounts of db1, db2, db3 are made; it goes on taking writes"}}
	byHandAt := daemonFor(t, byHand)
	hindered := healthy()
	hindered.Record = nil
	hindered.Decision.Beginning = &decide.Beginning{Adopt: true, Primary: "db1", Problems: []decide.Wait{{Code: decide.CodeErrant, Server: "db2", Detail: "db2 has transactions that db1 does not have", Remedy: "look at them"}}}
	hinderedAt := daemonFor(t, hindered)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			// Contexts of clusters that daemons answer for.
			e.Vars = append(e.Vars, "HEALTHY="+healthyAt, "DOWN="+downAt, "PAUSED="+pausedAt, "HANGS="+hangsAt, "BYHAND="+byHandAt, "HINDERED="+hinderedAt, "XDG_CONFIG_HOME="+e.WorkDir+"/home", "TZ=UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// exits runs mysqlha and compares its exit code.
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				// The code is told by the shell, since Exec only tells of failure.
				quoted := "mysqlha"
				for _, a := range args[1:] {
					quoted += " '" + a + "'"
				}
				ts.Check(ts.Exec("sh", "-c", quoted+"; test $? -eq "+strconv.Itoa(want)))
			},
		},
	})
}

func TestFlagsAfterAnArgumentAreRefusedWhereArgumentsAreTaken(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"a flag after an argument", []string{"x", "kill", "db1", "--hard"}, "write x kill --hard db1"},
		{"a flag before an argument", []string{"x", "kill", "--hard", "db1"}, ""},
		{"a dash that is meant as it stands", []string{"x", "kill", "--hard", "--", "db1", "-e"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			commands := []*cli.Command{{Name: "kill", ArgsUsage: "SERVER", Flags: []cli.Flag{&cli.BoolFlag{Name: "hard"}},
				Action: func(c *cli.Context) error {
					if !c.Bool("hard") {
						t.Error("the flag was lost")
					}
					return nil
				}}}
			strict(commands, "x", strings.Contains(strings.Join(c.args, " "), " -- "))
			app := &cli.App{Name: "x", Commands: commands, Writer: &bytes.Buffer{}, ErrWriter: &bytes.Buffer{}, ExitErrHandler: func(*cli.Context, error) {}}
			err := app.Run(c.args)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
