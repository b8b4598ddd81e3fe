package fix

import (
	"strings"
	"testing"
)

func TestDocumentSet(t *testing.T) {
	tests := []struct {
		reason  string
		in      string
		path    string
		value   any
		want    string
		wantErr string
	}{
		{reason: "replaces in place and keeps the comment", in: "a: 1 # why\nb: 2\n", path: "a", value: 5, want: "a: 5 # why\nb: 2\n"},
		{reason: "keeps quotes", in: "a: \"x\"\n", path: "a", value: "y", want: "a: \"y\"\n"},
		{reason: "space before the colon, as Kubespray writes one key", in: "a : unix:///x\nb: 1\n", path: "a", value: "z", want: "a : z\nb: 1\n"},
		{reason: "adds at the end of an unsorted mapping", in: "b: 1\na: 2\n", path: "c", value: true, want: "b: 1\na: 2\nc: true\n"},
		{reason: "adds at its place in a sorted one", in: "httpGet:\n  path: /x\n  port: 1\n", path: "httpGet.host", value: "127.0.0.1", want: "httpGet:\n  host: 127.0.0.1\n  path: /x\n  port: 1\n"},
		{reason: "adds the parents that are missing", in: "kind: K\na:\n    b: 1\n", path: "x.w.z", value: false, want: "kind: K\na:\n    b: 1\nx:\n    w:\n        z: false\n"},
		{reason: "adds to a nested mapping that a list ends", in: "m:\n  z:\n  - 1\n  - 2\n  a: 1\nl:\n- x\n", path: "m.q", value: 3, want: "m:\n  z:\n  - 1\n  - 2\n  a: 1\n  q: 3\nl:\n- x\n"},
		{reason: "adds after a block of text", in: "a: |\n  one\n\n  two\n", path: "b", value: 1, want: "a: |\n  one\n\n  two\nb: 1\n"},
		{reason: "fills an empty mapping", in: "k: 1\nfeatureGates: {}\nz: 1\n", path: "featureGates.X", value: true, want: "k: 1\nfeatureGates:\n  X: true\nz: 1\n"},
		{reason: "fills a null", in: "k:\nz: 1\n", path: "k", value: "v", want: "k: v\nz: 1\n"},
		{reason: "no line end at the end stays none", in: "a: 1", path: "b", value: 2, want: "a: 1\nb: 2"},
		{reason: "text that looks like a number is quoted", in: "a: x\n", path: "b", value: "12e4", want: "a: x\nb: \"12e4\"\n"},
		{reason: "text that YAML 1.1 takes for a boolean is quoted", in: "a: x\n", path: "b", value: "off", want: "a: x\nb: \"off\"\n"},
		{reason: "flow style is refused", in: "a: {b: 1, c: 2}\n", path: "a.b", value: 2, wantErr: "flow style"},
		{reason: "flow style is refused for new keys", in: "a: {b: 1}\n", path: "a.c", value: 2, wantErr: "not a mapping in block style"},
		{reason: "duplicate keys", in: "a: 1\na: 2\n", path: "a", value: 2, wantErr: "duplicate key"},
		{reason: "anchors", in: "a: &x 1\nb: *x\n", path: "a", value: 2, wantErr: "anchor or alias"},
		{reason: "tabs", in: "a:\t1\n", path: "a", value: 2, wantErr: "tab"},
		{reason: "CRLF", in: "a: 1\r\n", path: "a", value: 2, wantErr: "carriage return"},
		{reason: "two documents", in: "a: 1\n---\nb: 1\n", path: "a", value: 2, wantErr: "more than one document"},
		{reason: "binary", in: "\xff\xfe\x00", path: "a", value: 2, wantErr: "UTF-8"},
		{reason: "nothing", in: "", path: "a", value: 2, wantErr: "empty"},
		{reason: "a list", in: "- a\n", path: "a", value: 2, wantErr: "not a mapping"},
		{reason: "value over two lines", in: "a: x\n  y\nb: 1\n", path: "a", value: 2, wantErr: "several lines"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			d, err := parseDocument([]byte(tt.in))
			if err == nil {
				d, err = d.setScalar(tt.value, strings.Split(tt.path, ".")...)
			}
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want one about %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(d.bytes()); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestDocumentSetList(t *testing.T) {
	for in, want := range map[string]string{
		"a: 1\n":                           "a: 1\nl:\n- X\n- W\n",
		"l:\n- 1\n- 2\n- 3\na: 1\n":        "l:\n- X\n- W\na: 1\n",
		"l:\n  - \"1\"\n  - 2 # c\na: 1\n": "l:\n  - X\n  - W\na: 1\n",
		"l: []\na: 1\n":                    "l:\n- X\n- W\na: 1\n",
	} {
		d, err := parseDocument([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if d, err = d.setList([]string{"X", "W"}, "l"); err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if got := string(d.bytes()); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
