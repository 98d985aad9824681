package gtid

import (
	"errors"
	"strings"
	"testing"
)

func TestParseReadsWhatServersPrintAndPeopleWrite(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"the empty text is the empty set", "", ""},
		{"white space alone is the empty set", " \t\r\n\v\f", ""},
		{"one transaction", uuidA + ":7", uuidA + ":7"},
		{"an interval of one is printed as one number", uuidA + ":7-7", uuidA + ":7"},
		{"a server's newline after the comma", uuidA + ":1-5:7,\n" + uuidB + ":1", uuidA + ":1-5:7," + uuidB + ":1"},
		{"UUIDs are sorted", uuidB + ":1," + uuidA + ":1", uuidA + ":1," + uuidB + ":1"},
		{"intervals are sorted and merged", uuidA + ":9:3-4:1-2:4-5:8", uuidA + ":1-5:8-9"},
		{"entries of one UUID are merged", uuidA + ":1," + uuidA + ":2:x:1," + uuidA + ":x:2", uuidA + ":1-2:x:1-2"},
		{"intervals after a tag belong to it until the next tag", uuidA + ":1:b:1-3:9:a:4:b:4", uuidA + ":1:a:4:b:1-4:9"},
		{"a tag does not reach into the next entry", uuidA + ":b:1," + uuidA + ":2", uuidA + ":2:b:1"},
		{"tags without untagged intervals", uuidA + ":tag_1:1-2", uuidA + ":tag_1:1-2"},
		{"tags sort by their bytes", uuidA + ":b:1:_:1:a1:1:a_:1:a:1", uuidA + ":_:1:a:1:a1:1:a_:1:b:1"},
		{"upper case becomes lower case", strings.ToUpper(uuidA) + ":TAG:1", uuidA + ":tag:1"},
		{"a UUID without dashes", strings.ReplaceAll(uuidC, "-", "") + ":1", uuidC + ":1"},
		{"white space between all words", "\n " + uuidA + " : 1 - 5 : 7 : tag : 2 , " + uuidB + " :\t1 \n", uuidA + ":1-5:7:tag:2," + uuidB + ":1"},
		{"a tag of 32 characters", uuidA + ":_" + strings.Repeat("z", 31) + ":1", uuidA + ":_" + strings.Repeat("z", 31) + ":1"},
		{"the largest number", uuidA + ":9223372036854775806", uuidA + ":9223372036854775806"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseRefusesAndPointsAtTheFault(t *testing.T) {
	tests := []struct {
		name, text string
		at         string // What the error must point at, to the end of the text.
		want       string // A part of what it must ask for.
	}{
		{"a word that is no UUID", "nonsense:1", "nonsense:1", "a UUID"},
		{"a UUID that is cut off", uuidA[:35] + ":1", uuidA[:35] + ":1", "a UUID"},
		{"a UUID that is too long", uuidA + "0:1", uuidA + "0:1", "a UUID"},
		{"a UUID with a dash in the wrong place", "0a11fa4-771ca-11e1-9e33-c80aa9429562:1", "0a11fa4-771ca-11e1-9e33-c80aa9429562:1", "a UUID"},
		{"a UUID in braces", "{" + uuidA + "}:1", "{" + uuidA + "}:1", "a UUID"},
		{"a UUID alone", uuidA, "", "a tag or an interval"},
		{"a text cut off after the colon", uuidA + ":", "", "an interval"},
		{"a text cut off after the comma", uuidA + ":1,\n", "", "a UUID"},
		{"a text cut off after the dash", uuidA + ":1-", "", "a transaction number"},
		{"a text cut off after the tag", uuidA + ":tag", "", "the tag before it"},
		{"a tag that another tag follows", uuidA + ":tag:other:1", "other:1", "an interval"},
		{"two commas", uuidA + ":1,," + uuidB + ":1", "," + uuidB + ":1", "a UUID"},
		{"a leading comma", "," + uuidA + ":1", "," + uuidA + ":1", "a UUID"},
		{"a missing comma", uuidA + ":1 " + uuidB + ":1", uuidB + ":1", "','"},
		{"the number zero", uuidA + ":0", "0", "a transaction number"},
		{"an octal number", uuidA + ":010", "010", "without leading zeros"},
		{"a hexadecimal number", uuidA + ":0x10", "0x10", "without leading zeros"},
		{"a signed number", uuidA + ":+1", "+1", "an interval"},
		{"a negative number", uuidA + ":-1", "-1", "an interval"},
		{"an end below the start", uuidA + ":5-3:8", "3:8", "not below its start 5"},
		{"an end of zero", uuidA + ":5-0", "0", "a transaction number"},
		{"a number one too large", uuidA + ":9223372036854775807", "9223372036854775807", "9223372036854775806"},
		{"an end one too large", uuidA + ":1-9223372036854775807", "9223372036854775807", "9223372036854775806"},
		{"a number of many digits", uuidA + ":1" + strings.Repeat("0", 5000), "1" + strings.Repeat("0", 5000), "9223372036854775806"},
		{"a tag of 33 characters", uuidA + ":" + strings.Repeat("z", 33) + ":1", strings.Repeat("z", 33) + ":1", "a tag of 1 to 32"},
		{"a tag with a dash", uuidA + ":a-b:1", "-b:1", "':'"},
		{"a tag that begins with a digit", uuidA + ":1a:1", "a:1", "','"},
		{"a byte that is no text", uuidA + ":\x00", "\x00", "an interval"},
		{"a full-width digit", uuidA + ":１", "１", "an interval"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.text)
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("got %q, %v; want a SyntaxError", got, err)
			}
			if at := len(tt.text) - len(tt.at); syntax.Offset != at {
				t.Errorf("points at byte %d, want %d: %v", syntax.Offset, at, err)
			}
			if !strings.Contains(syntax.Want, tt.want) {
				t.Errorf("asks for %q, want %q", syntax.Want, tt.want)
			}
			if len(err.Error()) > 400 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestParseErrorReadsAsASentence(t *testing.T) {
	_, err := Parse(uuidA + ":0-5")
	const want = `parse GTID set: at byte 37 there is "0-5", want a transaction number from 1 to 9223372036854775806 without leading zeros`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestParseBoundsTheText(t *testing.T) {
	text := uuidA + ":1"
	largest := text + strings.Repeat(" ", maxTextBytes-len(text))
	if set, err := Parse(largest); err != nil || set.String() != text {
		t.Errorf("the largest text reads as %q, %v", set, err)
	}
	var syntax *SyntaxError
	if set, err := Parse(largest + " "); !errors.As(err, &syntax) || syntax.Offset != maxTextBytes {
		t.Errorf("a text beyond the bound reads as %q, %v", set, err)
	}
	if g, err := ParseGTID(largest + " "); !errors.As(err, &syntax) {
		t.Errorf("a GTID beyond the bound reads as %q, %v", g, err)
	}
}

func TestMustParsePanicsOnWhatIsNoSet(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	MustParse("nonsense")
}

func TestParseGTID(t *testing.T) {
	tests := []struct {
		name, text string
		want       GTID // The zero value: an error.
	}{
		{"without a tag", uuidA + ":7", GTID{UUID: uuidA, N: 7}},
		{"with a tag", uuidA + ":tag:7", GTID{UUID: uuidA, Tag: "tag", N: 7}},
		{"in any case, with space and without dashes", " 0A11FA4771CA11E19E33C80AA9429562 : TAG : 7 ", GTID{UUID: uuidA, Tag: "tag", N: 7}},
		{"the largest number", uuidA + ":9223372036854775806", GTID{UUID: uuidA, N: maxNumber}},
		{"an empty text", "", GTID{}},
		{"an interval", uuidA + ":1-2", GTID{}},
		{"two numbers", uuidA + ":1:2", GTID{}},
		{"a tag without number", uuidA + ":tag", GTID{}},
		{"a UUID alone", uuidA, GTID{}},
		{"zero", uuidA + ":0", GTID{}},
		{"a word of the server that names no transaction", "AUTOMATIC", GTID{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseGTID(tt.text)
			if got != tt.want || (err != nil) != (tt.want == GTID{}) {
				t.Fatalf("got %+v, %v; want %+v", got, err, tt.want)
			}
			if err != nil {
				return
			}
			set, err := Parse(got.String())
			if err != nil || set.Count() != 1 || !set.Has(got) {
				t.Errorf("as a set it is %q, %v", set, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", uuidA + ":1-5:7", uuidA + ":1-5:7,\n" + uuidB + ":tag:1-3:tag2:4", " " + uuidA + " : T : 9 - 9 ",
		uuidA + ":9223372036854775806", uuidA + ":5-3", strings.ReplaceAll(uuidC, "-", "") + ":1:a:1:_:2", uuidA + ":", ",",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := Parse(text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(text) || !set.IsEmpty() {
				t.Fatalf("%q: set %q, error %v", text, set, err)
			}
			return
		}
		printed := set.String()
		again, err := Parse(printed)
		if err != nil || !again.Equal(set) || again.String() != printed {
			t.Fatalf("%q: printed %q, read back %q, %v", text, printed, again, err)
		}
		if (set.Count() == 0) != set.IsEmpty() || set.IsEmpty() != (printed == "") {
			t.Fatalf("%q: %d in %q", text, set.Count(), printed)
		}
		if !set.Contains(again) || !set.Subtract(again).IsEmpty() || !set.Union(again).Equal(set) || !set.Intersect(again).Equal(set) {
			t.Fatalf("%q: arithmetic of %q with itself", text, printed)
		}
	})
}
