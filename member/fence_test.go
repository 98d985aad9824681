package member

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// One that is missing would have no series before it happens, and then begin with 1.
func TestEveryCauseIsListed(t *testing.T) {
	text, err := os.ReadFile("fence.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string][]string{"Cause": Causes(), "Cut": Cuts()} {
		found := regexp.MustCompile(`(?m)^\t`+name+`\w+ += "(\w+)"$`).FindAllStringSubmatch(string(text), -1)
		if len(found) != len(list) {
			t.Errorf("%s: %d constants, and %d are listed", name, len(found), len(list))
		}
		for _, m := range found {
			if !slices.Contains(list, m[1]) {
				t.Errorf("%s: %s is not listed", name, m[1])
			}
		}
	}
}
