package main

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mysqlha": func() { os.Exit(run(context.Background(), os.Args, os.Stdout, os.Stderr)) },
	})
}

func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
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
