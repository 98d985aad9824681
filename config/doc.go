// Package config owns the one strict YAML file that each host has, its
// MYSQLHA_* environment overrides, its defaults and every check that can be
// made before anything is started.
//
// The commands in cmd/ load the file and hand each room the values it needs;
// doctor and certs may import the package for its types. The package imports
// none of the other rooms. What all daemons of a cluster must agree on while
// they run lives in etcd, not here.
//
// A file is read in four passes, and each pass goes on after a fault, so that
// the operator sees all of them at once: decode (unknown keys, duplicate keys,
// wrong types), environment, defaults that follow from other fields, checks.
// Every value remembers where it came from, so a check that compares two
// fields still names the line to edit.
package config
