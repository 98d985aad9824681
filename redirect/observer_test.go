package redirect

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// What is missing in a list would have no series before it happens, and then begins with 1.
func TestTheListsHaveAllWords(t *testing.T) {
	lists := map[string][]string{"Cause": texts(Causes()), "HoldOutcome": texts(HoldOutcomes()), "RefuseReason": texts(RefuseReasons())}
	file, err := parser.ParseFile(token.NewFileSet(), "observer.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		of, ok := spec.Type.(*ast.Ident)
		if !ok || lists[of.Name] == nil {
			return true
		}
		for _, value := range spec.Values {
			word, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			if found++; err != nil || !slices.Contains(lists[of.Name], word) {
				t.Errorf("the list of %s lacks %q (%v)", of.Name, word, err)
			}
		}
		return true
	})
	if found != len(lists["Cause"])+len(lists["HoldOutcome"])+len(lists["RefuseReason"]) {
		t.Errorf("%d words were found", found)
	}
}

func texts[Word ~string](words []Word) (all []string) {
	for _, w := range words {
		all = append(all, string(w))
	}
	return all
}
