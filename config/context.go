package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
)

// Context is what the operator's command line needs to reach a cluster from a
// host that is not part of it.
type Context struct {
	// Cluster is the name of the cluster; an answer of another one is refused.
	Cluster string `yaml:"cluster"`
	// Endpoints are the daemons to ask, in the order in which to try them.
	Endpoints []ContextEndpoint `yaml:"endpoints"`
	// TLS names the PEM files. Cert and Key may both be empty: reading needs no
	// certificate.
	TLS TLS `yaml:"tls"`
	// TokenFile holds a token instead of a certificate, readable by its owner alone.
	TokenFile string `yaml:"token_file"`
}

// ContextEndpoint is one daemon to ask.
type ContextEndpoint struct {
	// Address is the host:port of its HTTPS endpoint.
	Address string `yaml:"address"`
	// TLSName is the name that its certificate must carry; default the host part
	// of Address.
	TLSName string `yaml:"tls_name"`
}

// VerifyName returns the name to verify when dialling the endpoint.
func (e ContextEndpoint) VerifyName() string {
	return Server{API: e.Address, TLSName: e.TLSName}.APITLSName()
}

// LoadContext reads and checks the context file at path; relative paths in it
// start from its folder. Any error is a Faults with everything that is wrong.
func LoadContext(path string) (*Context, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	data, err := readFile(absolute)
	if err != nil {
		return nil, unreadable(path, err)
	}
	r := &reader{file: path, at: map[string]origin{}, bad: map[string]bool{}}
	c := &Context{}
	if r.document(data, c) {
		c.derive(filepath.Dir(absolute))
		r.checkContext(c)
	}
	if len(r.faults) > 0 {
		r.faults.sort()
		return nil, r.faults
	}
	return c, nil
}

func (c *Context) derive(dir string) {
	for _, p := range []*string{&c.TLS.CA, &c.TLS.Cert, &c.TLS.Key, &c.TokenFile} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

func (r *reader) checkContext(c *Context) {
	r.needName("cluster", c.Cluster)
	if r.sound("endpoints") && len(c.Endpoints) == 0 {
		r.fault("endpoints", "is missing", "list the daemons to ask: {address: \"10.0.0.1:8008\"}")
	}
	seen := map[string]string{}
	for i, e := range c.Endpoints {
		path := fmt.Sprintf("endpoints[%d].address", i)
		if r.need(path, e.Address, dial.remedy()) {
			host, port, problem := address(e.Address, dial)
			if problem != "" {
				r.fault(path, problem, dial.remedy())
			}
			r.unique(seen, path, net.JoinHostPort(host, port), e.Address, "name each daemon once")
		}
		r.checkTLSName(fmt.Sprintf("endpoints[%d].tls_name", i), e.TLSName)
	}
	if r.need("tls.ca", c.TLS.CA, "name the file of the CA certificates") {
		r.checkFile("tls.ca", c.TLS.CA)
	}
	if c.TokenFile != "" {
		r.checkSecret("token_file", c.TokenFile, true)
	}
	if c.TLS.Cert == "" && c.TLS.Key == "" {
		return
	}
	if r.need("tls.cert", c.TLS.Cert, "name the file of the certificate that belongs to tls.key, or leave both out") {
		r.checkFile("tls.cert", c.TLS.Cert)
	}
	if r.need("tls.key", c.TLS.Key, "name the file of the private key of tls.cert, or leave both out") {
		r.checkSecret("tls.key", c.TLS.Key, true)
	}
}

// YAML returns the context as the text of a file that LoadContext reads.
func (c *Context) YAML() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Where the command line finds a cluster: mysqlha --context FILE status\n")
	fmt.Fprintf(&b, "cluster: %s\nendpoints:\n", yamlText(c.Cluster))
	for _, e := range c.Endpoints {
		fmt.Fprintf(&b, "  - address: %s\n", yamlText(e.Address))
		if e.TLSName != "" {
			fmt.Fprintf(&b, "    tls_name: %s\n", yamlText(e.TLSName))
		}
	}
	fmt.Fprintf(&b, "tls:\n  ca: %s\n", yamlText(c.TLS.CA))
	if c.TLS.Cert != "" || c.TLS.Key != "" {
		fmt.Fprintf(&b, "  cert: %s\n  key: %s\n", yamlText(c.TLS.Cert), yamlText(c.TLS.Key))
	}
	if c.TokenFile != "" {
		fmt.Fprintf(&b, "token_file: %s\n", yamlText(c.TokenFile))
	}
	return b.Bytes()
}

// yamlText quotes a text as JSON does, which YAML reads as well.
func yamlText(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes into a buffer
	return string(bytes.TrimRight(b.Bytes(), "\n"))
}
