package main

import (
	"slices"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/hooks"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mysqlhad": main})
}

func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// exits runs mysqlhad and compares its exit code.
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				quoted := "mysqlhad"
				for _, a := range args[1:] {
					quoted += " '" + a + "'"
				}
				ts.Check(ts.Exec("sh", "-c", quoted+"; test $? -eq "+strconv.Itoa(want)))
			},
		},
	})
}

// The configuration knows every kind of event, and no other.
func TestAHookMayBeForEveryKindOfEvent(t *testing.T) {
	var kinds []string
	for _, k := range hooks.Kinds() {
		kinds = append(kinds, string(k))
	}
	if !slices.Equal(kinds, config.HookEvents()) {
		t.Errorf("events are %v, and the configuration takes %v", kinds, config.HookEvents())
	}
}

func TestOneProcessHasSomeOfTheRolesOfAHost(t *testing.T) {
	const listen = ":8008"
	for name, c := range map[string]struct {
		only, without []string
		roles         []config.Role
		api           string
		refused       bool
	}{
		"all":                   {nil, nil, []config.Role{"member", "redirector", "etcd"}, listen, false},
		"a redirector alone":    {[]string{"redirector"}, nil, []config.Role{"redirector"}, ":8009", false},
		"all but that":          {nil, []string{"redirector"}, []config.Role{"member", "etcd"}, listen, false},
		"two":                   {[]string{"member", "etcd"}, nil, []config.Role{"member", "etcd"}, listen, false},
		"one that it has not":   {[]string{"witness"}, nil, nil, "", true},
		"one that is none":      {nil, []string{"leader"}, nil, "", true},
		"nothing":               {[]string{"etcd"}, []string{"etcd"}, nil, "", true},
		"etcd alone, silently":  {[]string{"etcd"}, nil, []config.Role{"etcd"}, ":8009", false},
		"a member without both": {nil, []string{"etcd", "redirector"}, []config.Role{"member"}, listen, false},
	} {
		cfg := &config.Config{Roles: []config.Role{"member", "redirector", "etcd"}, API: config.API{Listen: listen}, Redirect: config.Redirect{API: ":8009"}}
		err := chooseRoles(cfg, c.only, c.without)
		if (err != nil) != c.refused || err == nil && (!slices.Equal(cfg.Roles, c.roles) || cfg.API.Listen != c.api) {
			t.Errorf("%s: roles %v, api %q, %v", name, cfg.Roles, cfg.API.Listen, err)
		}
	}
}
