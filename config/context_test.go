package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContextIsReadAsItWasWritten(t *testing.T) {
	dir := t.TempDir()
	want := &Context{
		Cluster:   "shop",
		Endpoints: []ContextEndpoint{{Address: "10.0.0.1:8008"}, {Address: "[fd00::2]:8008", TLSName: "db2.shop.example"}},
		TLS: TLS{CA: write(t, dir, "tls & co/ca.crt", "ca", 0o644),
			Cert: write(t, dir, "me.crt", "cert", 0o644), Key: write(t, dir, "me.key", "key", 0o600)},
	}
	got, err := LoadContext(write(t, dir, "context.yaml", string(want.YAML()), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the context differs (-want +got):\n%s", diff)
	}
	if names := got.Endpoints[0].VerifyName() + " " + got.Endpoints[1].VerifyName(); names != "10.0.0.1 db2.shop.example" {
		t.Errorf("the names to verify are %s", names)
	}
}

func TestContextPathsStartAtItsFolder(t *testing.T) {
	dir := t.TempDir()
	ca := write(t, dir, "ca.crt", "ca", 0o644)
	c, err := LoadContext(write(t, dir, "c.yaml", "cluster: shop\nendpoints: [{address: \"h:1\"}]\ntls: {ca: ca.crt}\n", 0o644))
	if err != nil || c.TLS.CA != ca || c.TLS.Cert != "" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestBrokenContextIsRefused(t *testing.T) {
	const tail = "\nendpoints: [{address: \"h:1\"}]\ntls: {ca: ca.crt}\n"
	for _, c := range []struct{ name, text, want string }{
		{"with nothing in it", "", "holds nothing"},
		{"with an unknown key", "cluster: shop\nendpoint: 1" + tail, ":2: endpoint: is not a known key; did you mean endpoints?"},
		{"without endpoints", "cluster: shop\ntls: {ca: ca.crt}\n", "endpoints: is missing"},
		{"without a CA", "cluster: shop\nendpoints: [{address: \"h:1\"}]\n", "tls.ca: is missing"},
		{"with an address without a port", "cluster: shop\nendpoints: [{address: h}]\ntls: {ca: ca.crt}\n", "endpoints[0].address"},
		{"with an endpoint named twice", "cluster: shop\nendpoints: [{address: \"h:1\"}, {address: \"H:01\"}]\ntls: {ca: ca.crt}\n", "name each daemon once"},
		{"with a name that has a port", "cluster: shop\nendpoints: [{address: \"h:1\", tls_name: \"h:1\"}]\ntls: {ca: ca.crt}\n", "without a port"},
		{"with a certificate without its key", "cluster: shop\nendpoints: [{address: \"h:1\"}]\ntls: {ca: ca.crt, cert: ca.crt}\n", "tls.key: is missing"},
		{"with two documents", "cluster: shop" + tail + "---\nx: 1\n", "second document"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "ca.crt", "ca", 0o644)
			if _, err := LoadContext(write(t, dir, "c.yaml", c.text, 0o644)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
