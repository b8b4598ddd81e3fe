package profile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const smallMaster = `
controls:
id: 1
version: b-1.10
text: "API server $apiserverbin"
type: master
groups:
- id: 1.10
  text: Group
  checks:
  - id: 1.10
    text: Check
    audit: "/bin/ps -ef | grep $apiserverbin  "
    audit_config: "cat $apiserverconfig $etcdconf $ghostconf $apiserverconf"
    use_multiple_values: on
    tests:
      bin_op: or
      test_items:
      - flag: --a
        env: A
        compare: {op: eq, value: no}
      - {path: "{.a}", set: no, compare: {op: bitmask, value: 0644}}
    remediation: r
    scored: yes
    scored: true
`

func TestControls(t *testing.T) {
	c := openCatalog(t, small(smallConfig, "", smallMaster))
	c.Preload("b", []string{"master", "nosuch"}) // must not get in the way
	items := []TestItem{
		{Flag: "--a", Env: "A", Set: true, Compare: Compare{"eq", "no"}},
		{Path: "{.a}", Compare: Compare{"bitmask", "0644"}},
	}
	audit := func(bin string) string {
		return `cat "/proc/$(/bin/ps -C ` + bin + ` -o pid= | tr -d ' ')/environ" | tr '\0' '\n'`
	}
	for _, tt := range []struct {
		reason, text, audit, config, env string
		v                                Variables
	}{
		{"nothing known", "API server $apiserverbin", "/bin/ps -ef | grep $apiserverbin  ", "cat $apiserverconfig $etcdconf $ghostconf $apiserverconf", audit(""), Variables{}},
		{"paths; a variable ends where its name ends", "API server api", "/bin/ps -ef | grep api  ", "cat /aig $etcdconf $ghostconf /a", audit("api"),
			Variables{Bin: map[string]string{"apiserver": "api", "etcd": "e"}, Conf: map[string]string{"apiserver": "/a", "etcd": ""}}},
		{"several words are quoted, also in the text", "API server 'hyper api'", "/bin/ps -ef | grep 'hyper api'  ", "cat 'b c'ig /e $ghostconf 'b c'", audit("hyper api"),
			Variables{Bin: map[string]string{"apiserver": "hyper api"}, Conf: map[string]string{"apiserver": "b c", "etcd": "/e"}}},
	} {
		got, err := c.Controls("b", "master", tt.v)
		if err != nil {
			t.Errorf("%s: %v", tt.reason, err)
			continue
		}
		want := &Controls{ID: "1", Version: "b-1.10", Text: tt.text, Type: "master", Groups: []Group{{ID: "1.10", Text: "Group", Checks: []Check{{
			ID: "1.10", Text: "Check", Audit: tt.audit, AuditConfig: tt.config, AuditEnv: tt.env, Multiple: true, Scored: true,
			Remediation: "r", Tests: &Tests{BinOp: "or", Items: items}, Variables: []string{"apiserverbin", "apiserverconf", "etcdconf", "ghostconf"},
		}}}}}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.reason, d)
		}
	}
}

func TestControlsRefuses(t *testing.T) {
	for reason, tt := range map[string]struct {
		target, text string
		v            Variables
		want         string
	}{
		"no such file":            {"node", "", Variables{}, "b/node.yaml"},
		"a path":                  {"../../x", "", Variables{}, "x.yaml"},
		"another section's":       {"master", "type: node", Variables{}, `b/master.yaml: its type is "node"`},
		"no YAML":                 {"master", "type: master\ngroups:\n- id: [\n", Variables{}, "b/master.yaml: line "},
		"wrong type":              {"master", "type: master\ngroups:\n- checks:\n  - scored: maybe\n", Variables{}, "b/master.yaml: line 4"},
		"empty group":             {"master", "type: master\ngroups: [~]", Variables{}, "group 1 is empty"},
		"empty check":             {"master", "type: master\ngroups: [{id: 7, checks: [~]}]", Variables{}, "group 7: check 1 is empty"},
		"empty item":              {"master", "type: master\ngroups: [{checks: [{id: 7, tests: {test_items: [~]}}]}]", Variables{}, "check 7: test item 1 is empty"},
		"a value breaks the YAML": {"master", "type: master\ntext: $etcdconf\n", Variables{Conf: map[string]string{"etcd": "[a"}}, "b/master.yaml: line 2"},
	} {
		_, err := openCatalog(t, small(smallConfig, "", tt.text)).Controls("b", tt.target, tt.v)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// TestSubstitutionBeforeParsing has files in which a value changes what the YAML
// means, as it does for kube-bench.
func TestSubstitutionBeforeParsing(t *testing.T) {
	for reason, tt := range map[string]struct{ text, value, want string }{
		"a comment":          {"text: x $etcdconf", "#b", "x"},
		"null":               {"text: $etcdconf", "null", ""},
		"a key":              {"$etcdconf: x", "text", "x"},
		"a torn variable":    {"text: \"$etcd\\\n  conf\"", "v", "$etcdconf"},
		"an escaped dollar":  {`text: "\x24etcdconf"`, "v", "$etcdconf"},
		"valid only after":   {"text: a\nid: {$etcdconf: {}\n}", "v", ""},
		"a quote in a quote": {"text: 'x $etcdconf y'", "a b", ""},
		"plain":              {"text: $etcdconfx", "/v", "/vx"},
	} {
		controls, err := openCatalog(t, small(smallConfig, "", "type: master\n"+tt.text+"\n")).Controls("b", "master", Variables{Conf: map[string]string{"etcd": tt.value}})
		if err != nil {
			if tt.want != "" {
				t.Errorf("%s: %v", reason, err)
			}
			continue
		}
		if controls.Text != tt.want {
			t.Errorf("%s: %q, want %q", reason, controls.Text, tt.want)
		}
	}
}

func TestSelect(t *testing.T) {
	all := &Controls{Groups: []Group{
		{ID: "1", Text: "first", Checks: []Check{{ID: "1.1"}, {ID: "1.2"}}},
		{ID: "2", Type: "skip", Checks: []Check{{ID: "2.1", Type: "manual"}}},
		{ID: "1", Text: "again", Checks: []Check{{ID: "1.3"}, {ID: "1.1"}}},
	}}
	for _, tt := range []struct {
		reason               string
		checks, groups, skip []string
		want                 string
	}{
		{"all: same ids are one group, group types go into checks", nil, nil, nil, "1:1.1,1.2,1.3,1.1 2:2.1/skip"},
		{"exact ids, blanks trimmed", []string{" 1.1", "1"}, nil, nil, "1:1.1,1.1"},
		{"groups", nil, []string{"2"}, nil, "2:2.1/skip"},
		{"both", []string{"1.2"}, []string{"1"}, nil, "1:1.2"},
		{"nothing is left", []string{"9"}, nil, nil, ""},
		{"the empty id selects nothing", []string{""}, nil, nil, ""},
		{"skip takes check and group ids", nil, []string{"1"}, []string{"1.2", "1.3"}, "1:1.1,1.2/skip,1.3/skip,1.1"},
		{"skip a group", []string{"1.1", " 1.2", ""}, nil, []string{"1"}, "1:1.1/skip,1.2/skip,1.1/skip"},
	} {
		var groups []string
		for _, g := range all.Select(tt.checks, tt.groups, tt.skip).Groups {
			var ids []string
			for _, c := range g.Checks {
				id := c.ID
				if c.Type != "" {
					id += "/" + c.Type
				}
				ids = append(ids, id)
			}
			groups = append(groups, g.ID+":"+strings.Join(ids, ","))
			if g.Type != "" {
				t.Errorf("%s: group type %q", tt.reason, g.Type)
			}
		}
		if got := strings.Join(groups, " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.reason, got, tt.want)
		}
	}
	if all.Groups[1].Checks[0].Type != "manual" {
		t.Error("Select changed its receiver")
	}
}
