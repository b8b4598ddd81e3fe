package check

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// flagCases are flags in texts. `want` is empty when nothing is found.
var flagCases = []struct{ reason, flag, text, want string }{
	{"equals", "--x", "a --x=1 b", "1"},
	{"two signs", "--x", "--x==1", "1"},
	{"colon and blanks", "--x", "--x:  1", "1"},
	{"all mixed", "--x", "--x==: =1", "1"},
	{"a blank separates", "--x", "--x 1", "true"},
	{"empty value of an option", "--x", "--x= --y=1", "true"},
	{"empty value of a word", "permissions", "permissions\n600", "permissions"},
	{"a mere substring", "--profiling", "--profiling-x=2", "-x=2"},
	{"inside another flag", "port", "--secure-port=6443", "6443"},
	{"first occurrence only", "--x", "--x=1\n--x=2", "1"},
	{"quotes and commas belong to the value", "--x", `"--x=1",`, `1",`},
	{"ends at a tab", "--x", "--x=1\t2", "1"},
	{"tab after the colon", "--x", "--x:\t2", "true"},
	{"owner", "root:root", "root:root\n", "root:root"},
	{"absent", "--x", "--y", ""},
	{"empty text", "--x", "", ""},
	{"empty flag", "", "--x", ""},
	{"a dot matches any byte, from the first match", "a.b", "axb=1 a.b=2", "1"},
	{"a flag whose pattern does not match itself", "a+b", "a+b=1", ""},
	{"groups shift the value", "(a)(b)", "(a)(b) ab=1", "b"},
}

func TestFlag(t *testing.T) {
	for _, tt := range flagCases {
		found, value, err := flagFinder(tt.flag)(tt.text)
		if found && err == nil && value != tt.want || (!found || err != nil) && tt.want != "" {
			t.Errorf("%s: %q in %q: %v %q %v, want %q", tt.reason, tt.flag, tt.text, found, value, err, tt.want)
		}
	}
}

func TestEnv(t *testing.T) {
	for _, tt := range []struct{ reason, name, text, want string }{
		{"a line", "A", "B=2\nA=1 2\nC=3", "1 2"},
		{"not anchored", "A", "MY_A=1", "1"},
		{"empty is not there", "A", "A=\nB=1", ""},
		{"the first counts even when empty", "A", "A=\nA=1", ""},
		{"last line", "A", "A=1", "1"},
		{"value with equals", "A", "A=b=c", "b=c"},
	} {
		found, value, err := envFinder(tt.name)(tt.text)
		if err != nil || value != tt.want || found != (tt.want != "") {
			t.Errorf("%s: %v %q %v, want %q", tt.reason, found, value, err, tt.want)
		}
	}
}

// pathCases are templates on texts; error stands for one that cannot be printed.
var pathCases = []struct{ reason, path, text, want string }{
	{"nested", "{.a.b}", "a: {b: x}", "x"},
	{"missing", "{.a.c}", "a: {b: x}", ""},
	{"field of a scalar", "{.a.b.c}", "a: {b: x}", ""},
	{"null", "{.a}", "a: null", "null"},
	{"empty string", "{.a}", `a: ""`, ""},
	{"JSON numbers are floating", "{.a}", `{"a": 1000000}`, "1e+06"},
	{"smaller ones look whole", "{.a}", `{"a": 999999}`, "999999"},
	{"YAML numbers are whole", "{.a}", "a: 1000000", "1000000"},
	{"octal", "{.a}", "a: 0644", "420"},
	{"underscores", "{.a}", "a: 1_000", "1000"},
	{"yes", "{.a}", "a: yes", "true"},
	{"n", "{.a}", "a: n", "false"},
	{"a key that is a boolean", "{.on}", "on: 1", ""},
	{"minutes are text", "{.a}", "a: 1:30", "1:30"},
	{"first document", "{.a}", "a: 1\n---\na: 2", "1"},
	{"last duplicate", "{.a}", "a: 1\na: 2", "2"},
	{"a list, where y is a boolean", "{.a}", "a: [x, y]", `["x",true]`},
	{"an empty list", "{.a}", "a: []", "[]"},
	{"a map of YAML", "{.a}", "a: {b: 1}", "error"},
	{"a map of JSON", "{.a}", `{"a": {"b": 1}}`, `{"b":1}`},
	{"range", "{range .a[:]}{}{','}{end}", "a: [x, z]", "x,z,"},
	{"range over nothing", "{range .a[:]}{}{','}{end}", "a: null", ""},
	{"range over text", "{range .a[:]}{}{','}{end}", "a: x", "error"},
	{"no braces are literal", ".a", "b: 1", ".a"},
	{"neither JSON nor YAML", "{.a}", "a: b: c", "error"},
	{"no template", "{.a", "a: 1", "error"},
}

func TestPath(t *testing.T) {
	docs := new(documents)
	for _, tt := range pathCases {
		found, value, err := docs.path(tt.text, tt.path)
		if err != nil {
			value = "error"
		}
		if value != tt.want || found != (value != "" && err == nil) {
			t.Errorf("%s: %q of %q: %v %q %v, want %q", tt.reason, tt.path, tt.text, found, value, err, tt.want)
		}
	}
}

func TestEvaluateFailsWhatCannotBeRead(t *testing.T) {
	item := profile.TestItem{Path: "{.a}", Set: false}
	got, err := execute(&profile.Check{}, item, FromConfig, "a: b: c", new(documents))
	if err != nil || got.Pass || got.Found || got.Expected != "" {
		t.Errorf("set: false on a broken file: %+v %v, want a plain false", got, err)
	}
}

// FuzzFlag compares the search without a regular expression with kube-bench's
// pattern, and judges whatever comes without panic.
func FuzzFlag(f *testing.F) {
	for _, tt := range flagCases {
		f.Add(tt.flag, tt.text)
	}
	for _, flag := range []string{"--authorization-mode", "permissions", "etcd:etcd", "is_compliant", "provider", "[", "(?i)x"} {
		f.Add(flag, "x "+flag+"=a,b "+flag+": c")
	}
	f.Fuzz(func(t *testing.T, flag, text string) {
		found, value, err := flagFinder(flag)(text)
		if found && !strings.Contains(text, flag) {
			t.Fatalf("found %q in %q", flag, text)
		}
		if strings.ContainsAny(value, " \t\n\f\r") && !strings.ContainsAny(flag, " \t\n\f\r\\[.(^$*+?{|") {
			t.Fatalf("white space in the value %q", value)
		}
		if found && flag != "" && regexp.QuoteMeta(flag) == flag && utf8.ValidString(flag) {
			groups := regexp.MustCompile(`(` + flag + `)(=|: *)*([^\s]*) *`).FindStringSubmatch(text)
			if want := flagValue(flag, groups[1], groups[3]); value != want || err != nil {
				t.Fatalf("%q in %q: %q %v, the pattern says %q", flag, text, value, err, want)
			}
		}
		for _, set := range []bool{true, false} {
			item, err := execute(&profile.Check{Multiple: set}, profile.TestItem{Flag: flag, Env: flag, Set: set}, FromEnv, text, nil)
			if err == nil && item.Pass != (item.Found == set) {
				t.Fatalf("set %v: %+v", set, item)
			}
		}
	})
}

// FuzzPath prints whatever template of whatever text: no panic, and the same
// answer from a text that was parsed before.
func FuzzPath(f *testing.F) {
	for _, tt := range pathCases {
		f.Add(tt.path, tt.text)
	}
	f.Add("{.authentication.anonymous.enabled}", "authentication: {anonymous: {enabled: off}}")
	f.Add("{.a[?(@.b==1)].c}", "a: [{b: 1, c: 2}]")
	f.Fuzz(func(t *testing.T, path, text string) {
		if strings.Contains(path, "*") || strings.Contains(path, "..") {
			return // print maps in the order of the day, in kube-bench too
		}
		docs := new(documents)
		found, value, err := docs.path(text, path)
		if found != (value != "") || err != nil && found {
			t.Fatalf("found %v, value %q, error %v", found, value, err)
		}
		again, same, _ := docs.path(text, path)
		if again != found || same != value {
			t.Fatalf("first %q, then %q", value, same)
		}
	})
}
