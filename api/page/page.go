// Package page is the status page that a daemon shows at /: a document, a style sheet and
// a script, embedded, with nothing from elsewhere. It is a client of the endpoint like any
// other, so all that it shows and asks for is what the endpoint answers to whoever looks.
// The endpoint alone imports it.
package page

import _ "embed" // Its files.

// File is one of the page's.
type File struct {
	// Path is where the endpoint serves it, Type its media type.
	Path, Type string
	Body       []byte
}

//go:embed page.html
var document []byte

//go:embed page.css
var style []byte

//go:embed page.js
var script []byte

// Policy is the content security policy of the page: it loads what the endpoint itself
// serves, and an icon that stands in the document.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// Files are all of them.
func Files() []File {
	return []File{
		{"/", "text/html; charset=utf-8", document},
		{"/page.css", "text/css; charset=utf-8", style},
		{"/page.js", "text/javascript; charset=utf-8", script},
	}
}
