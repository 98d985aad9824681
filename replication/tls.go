package replication

import (
	"context"
	"path/filepath"
)

// TLSFiles are the files that a mysqld takes its certificate from, by their whole paths;
// empty where it has none.
type TLSFiles struct{ CA, Cert, Key string }

// TLSFiles reads which files the server takes its certificate from.
func (l *Local) TLSFiles(ctx context.Context) (f TLSFiles, err error) {
	var dir string
	err = l.row(ctx, "read which certificate it has", "SELECT @@global.datadir, COALESCE(@@global.ssl_ca, ''), COALESCE(@@global.ssl_cert, ''), COALESCE(@@global.ssl_key, '')",
		nil, &dir, &f.CA, &f.Cert, &f.Key)
	for _, path := range []*string{&f.CA, &f.Cert, &f.Key} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	return f, err
}

// ReloadTLS has the server take its certificate anew from its files. Sessions go on with
// the former one. Where the files cannot be used it fails, and the former stays in use.
func (l *Local) ReloadTLS(ctx context.Context) error {
	return l.exec(ctx, "take the certificate anew", "ALTER INSTANCE RELOAD TLS")
}
