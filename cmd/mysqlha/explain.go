package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

func (t tool) explainCommand() *cli.Command {
	return &cli.Command{Name: "explain", Usage: "say what a problem's code means and what to do; without a code, list all", ArgsUsage: "[CODE]",
		Flags: clientFlags()[2:3], Action: t.explain}
}

func (t tool) explain(c *cli.Context) error {
	switch c.NArg() {
	case 0:
		return t.print(c, decide.Catalogue(), func() string {
			w := newTable("CODE", "SEVERITY", "WHAT IT IS")
			for _, e := range decide.Catalogue() {
				w.AppendRow(table.Row{string(e.Code), string(e.Severity), wrap(e.Title, 90)})
			}
			return w.Render() + "\n"
		})
	case 1:
		entry, known := decide.Explain(decide.Code(c.Args().First()))
		if !known {
			return fmt.Errorf("%q is no code; mysqlha explain lists them", c.Args().First())
		}
		return t.print(c, entry, func() string {
			return strings.TrimRight(fmt.Sprintf("%s (%s): %s\n%s", entry.Code, entry.Severity, entry.Title, entry.Help), "\n") + "\n"
		})
	}
	return &usageError{"explain one code: mysqlha explain CODE"}
}

func (t tool) completionCommand() *cli.Command {
	return &cli.Command{Name: "completion", Usage: "print a script that completes commands and flags in bash, zsh or fish", ArgsUsage: "SHELL",
		Description: "  bash  source <(mysqlha completion bash)\n  zsh   source <(mysqlha completion zsh)\n  fish  mysqlha completion fish | source", Action: t.completion}
}

func (t tool) manCommand() *cli.Command {
	return &cli.Command{Name: "man", Usage: "print the manual page: mysqlha man | man -l -", Action: func(c *cli.Context) error {
		page, err := c.App.ToManWithSection(manSection)
		if err == nil {
			_, err = fmt.Fprint(t.stdout, page)
		}
		return err
	}}
}

// manSection is that of commands for administrators.
const manSection = 8

// The scripts ask the program itself, by a flag that the library knows.
const (
	bashCompletion = `_mysqlha() {
  local word="${COMP_WORDS[COMP_CWORD]}" line
  local -a asked=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ $word == -* ]] && asked+=("$word")
  COMPREPLY=()
  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -W "$("${asked[@]}" --generate-bash-completion 2>/dev/null)" -- "$word")
}
complete -o bashdefault -o default -F _mysqlha mysqlha
`
	zshCompletion = `_mysqlha() {
  local -a asked found
  asked=("${words[@]:0:$((CURRENT - 1))}")
  [[ ${words[CURRENT]} == -* ]] && asked+=("${words[CURRENT]}")
  found=("${(@f)$("${asked[@]}" --generate-bash-completion 2>/dev/null)}")
  [[ -n ${found[1]} ]] && compadd -- "${found[@]}" || _files
}
compdef _mysqlha mysqlha
`
)

func (t tool) completion(c *cli.Context) (err error) {
	script := ""
	switch shell := c.Args().First(); {
	case c.NArg() != 1:
		return &usageError{"name one shell: mysqlha completion bash, zsh or fish"}
	case shell == "bash":
		script = bashCompletion
	case shell == "zsh":
		script = zshCompletion
	case shell == "fish":
		script, err = c.App.ToFishCompletion()
	default:
		return &usageError{fmt.Sprintf("%q is no shell that can be completed in: bash, zsh or fish", shell)}
	}
	_, printed := fmt.Fprint(t.stdout, script)
	return errors.Join(err, printed)
}
