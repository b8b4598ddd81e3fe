package fix

import (
	"strings"
	"testing"
)

func pod(args string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\nspec:\n  containers:\n  - command:\n    - kube-apiserver\n" + args + "    image: x\n    name: kube-apiserver\nstatus: {}\n"
}

func set(name, value string) podChange {
	return podChange{flags: map[string]*string{name: &value}}
}

func unset(name string) podChange { return podChange{flags: map[string]*string{name: nil}} }

func TestEditManifestFlags(t *testing.T) {
	tests := []struct {
		reason  string
		in      string
		change  podChange
		want    string
		wantErr string
	}{
		{reason: "in place", in: pod("    - --a=1\n    - --b=2\n"), change: set("b", "3"), want: pod("    - --a=1\n    - --b=3\n")},
		{reason: "comment behind it stays", in: pod("    - --a=1 # why\n"), change: set("a", "2"), want: pod("    - --a=2 # why\n")},
		{reason: "sorted in", in: pod("    - --a=1\n    - --c=2\n"), change: set("b", "3"), want: pod("    - --a=1\n    - --b=3\n    - --c=2\n")},
		{reason: "first of all", in: pod("    - --b=1\n"), change: set("a", "3"), want: pod("    - --a=3\n    - --b=1\n")},
		{reason: "at the end of an unsorted list", in: pod("    - --c=1\n    - --a=2\n"), change: set("b", "3"), want: pod("    - --c=1\n    - --a=2\n    - --b=3\n")},
		{reason: "no flags yet", in: pod(""), change: set("b", "3"), want: pod("    - --b=3\n")},
		{reason: "quoted with single quotes, as kubeadm writes a value that ends with a colon", in: pod("    - '--bind-address=::'\n"), change: set("bind-address", "127.0.0.1"), want: pod("    - --bind-address=127.0.0.1\n")},
		{reason: "double quotes", in: pod("    - \"--a=1\"\n"), change: set("a", "2"), want: pod("    - --a=2\n")},
		{reason: "a value that needs quotes", in: pod("    - --a=1\n"), change: set("b", "x: y"), want: pod("    - --a=1\n    - \"--b=x: y\"\n")},
		{reason: "flag and value on two lines", in: pod("    - --a\n    - \"1\"\n    - --b=1\n"), change: set("a", "2"), want: pod("    - --a=2\n    - --b=1\n")},
		{reason: "behind a flag and value on two lines", in: pod("    - --a\n    - \"1\"\n    - --c=1\n"), change: set("b", "2"), want: pod("    - --a\n    - \"1\"\n    - --b=2\n    - --c=1\n")},
		{reason: "a bare switch", in: pod("    - --a\n    - --b=1\n"), change: set("a", "false"), want: pod("    - --a=false\n    - --b=1\n")},
		{reason: "twice becomes once", in: pod("    - --a=1\n    - --b=1\n    - --a=2\n"), change: set("a", "3"), want: pod("    - --a=3\n    - --b=1\n")},
		{reason: "twice with the same value becomes once", in: pod("    - --a=1\n    - --b=1\n    - --a=1\n"), change: set("a", "1"), want: pod("    - --a=1\n    - --b=1\n")},
		{reason: "underscores are dashes", in: pod("    - --an_on=1\n"), change: set("an-on", "2"), want: pod("    - --an-on=2\n")},
		{reason: "a longer name is another flag", in: pod("    - --audit-log-maxage=1\n"), change: set("audit-log-max", "2"), want: pod("    - --audit-log-max=2\n    - --audit-log-maxage=1\n")},
		{reason: "removed", in: pod("    - --a=1\n    - --b=1\n    - --a\n    - x\n"), change: unset("a"), want: pod("    - --b=1\n")},
		{reason: "flags in args", in: strings.Replace(pod(""), "    image", "    args:\n    - --b=1\n    image", 1), change: set("c", "2"),
			want: strings.Replace(pod(""), "    image", "    args:\n    - --b=1\n    - --c=2\n    image", 1)},
		{reason: "two-space lists below their key", in: "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n    - name: kube-apiserver\n      command:\n        - /usr/local/bin/kube-apiserver\n        - --a=1\n",
			change: set("b", "2"), want: "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n    - name: kube-apiserver\n      command:\n        - /usr/local/bin/kube-apiserver\n        - --a=1\n        - --b=2\n"},
		{reason: "flow style", in: strings.Replace(pod(""), "command:\n    - kube-apiserver\n", "command: [kube-apiserver, --a=1]\n", 1), change: set("a", "2"), wantErr: "not a list in block style"},
		{reason: "a shell starts it", in: pod("    - -c\n    - exec kube-apiserver --a=1\n")[:0] + strings.Replace(pod("    - -c\n"), "- kube-apiserver\n", "- /bin/sh\n", 1), change: set("a", "2"), wantErr: "no container runs"},
		{reason: "an item over two lines", in: pod("    - --a=1\n      2\n"), change: set("b", "2"), wantErr: "several lines"},
		{reason: "an item that is a mapping", in: pod("    - --a=::\n"), change: set("b", "2"), wantErr: "not a single value"},
		{reason: "another container", in: strings.ReplaceAll(pod(""), "kube-apiserver", "nginx"), change: set("b", "2"), wantErr: "no container runs"},
		{reason: "an unknown field is not the kubelet's", in: pod("    - --a=1\n") + "specs: {}\n", change: set("a", "2"), wantErr: "unknown field"},
		{reason: "tab", in: pod("    - --a=1\t\n"), change: set("a", "2"), wantErr: "tab"},
		{reason: "CRLF", in: strings.ReplaceAll(pod("    - --a=1\n"), "\n", "\r\n"), change: set("a", "2"), wantErr: "carriage return"},
		{reason: "two documents", in: pod("    - --a=1\n") + "---\na: 1\n", change: set("a", "2"), wantErr: "more than one document"},
		{reason: "anchor", in: pod("    - &x --a=1\n"), change: set("a", "2"), wantErr: "anchor or alias"},
		{reason: "duplicate key", in: pod("    - --a=1\n") + "status: {}\n", change: set("a", "2"), wantErr: "duplicate key"},
		{reason: "mounted twice on one path", in: strings.Replace(pod("    - --a=1\n"), "    name: kube-apiserver\n", "    name: kube-apiserver\n    volumeMounts:\n    - mountPath: /x\n      name: v\n    - mountPath: /x\n      name: v\n  volumes:\n  - name: v\n    emptyDir: {}\n", 1),
			change: set("a", "2"), wantErr: "must be unique"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got, err := editManifest([]byte(tt.in), "kube-apiserver", tt.change)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want one about %q; got\n%s", err, tt.wantErr, got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestVerifyPodNotices holds the check against edits that go wrong.
func TestVerifyPodNotices(t *testing.T) {
	before := pod("    - --a=1\n    - --b=1\n")
	for reason, after := range map[string]string{
		"another flag changed":     pod("    - --a=2\n    - --b=2\n"),
		"a flag is lost":           pod("    - --a=2\n"),
		"the flag is there twice":  pod("    - --a=2\n    - --b=1\n    - --a=2\n"),
		"the flag has not changed": before,
		"another field changed":    strings.Replace(pod("    - --a=2\n    - --b=1\n"), "image: x", "image: y", 1),
		"a field is unknown":       pod("    - --a=2\n    - --b=1\n") + "x: 1\n",
	} {
		if err := verifyPod(nil, []byte(before), []byte(after), "kube-apiserver", set("a", "2")); err == nil {
			t.Errorf("%s: not noticed", reason)
		}
	}
	if err := verifyPod(nil, []byte(before), []byte(pod("    - --a=2\n    - --b=1\n")), "kube-apiserver", set("a", "2")); err != nil {
		t.Error(err)
	}
}

// editManifest reads and edits in one step.
func editManifest(data []byte, binary string, c podChange) ([]byte, error) {
	m, err := (*memory)(nil).manifest(data, binary)
	if err != nil {
		return nil, err
	}
	return m.edit(data, c)
}
