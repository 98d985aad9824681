package decide

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// TestEveryCodeIsInTheCatalogue reads the constants out of the source, so that none
// can be forgotten.
func TestEveryCodeIsInTheCatalogue(t *testing.T) {
	declared := make(map[Code]bool)
	for _, file := range []string{"reason.go", "catalogue.go"} {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Code" {
				text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				declared[Code(text)] = true
			}
			return true
		})
	}
	if len(declared) < 50 {
		t.Fatalf("only %d codes were found: the test looks in the wrong place", len(declared))
	}
	seen := make(map[Code]bool)
	for _, e := range Catalogue() {
		switch {
		case seen[e.Code]:
			t.Errorf("%s is there twice", e.Code)
		case !declared[e.Code]:
			t.Errorf("%s is no code", e.Code)
		case e.Title == "" || e.Severity == "":
			t.Errorf("%s says nothing", e.Code)
		}
		seen[e.Code] = true
		delete(declared, e.Code)
	}
	for code := range declared {
		t.Errorf("%s is missing", code)
	}
}
