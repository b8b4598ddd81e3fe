package hazards

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

var updatePage = flag.Bool("update-page", false, "write docs/hazards.md again, after a change of the rows")

// TestRows: every row says what breaks and what is done, and names tests that
// exist, with the cases that it names.
func TestRows(t *testing.T) {
	known := map[string]tested{}
	subjects, rows, named := map[string]bool{}, 0, 0
	for _, p := range parts {
		for _, r := range p.rows {
			rows++
			if r.subject == "" || r.breaks == "" || r.guard == "" || len(r.tests) == 0 {
				t.Errorf("%s: %q is not complete", p.title, r.subject)
			}
			if subjects[p.title+r.subject] {
				t.Errorf("%s: %q stands twice", p.title, r.subject)
			}
			subjects[p.title+r.subject] = true
			for _, name := range r.tests {
				named++
				if err := exists(t, known, name); err != nil {
					t.Errorf("%s: %s: %v", p.title, r.subject, err)
				}
			}
		}
	}
	fmt.Printf("hazards: %d rows, each with a test that shows its guard; %d tests named\n", rows, named)
}

// tested is what the test files of a package hold.
type tested struct {
	functions map[string]bool
	texts     []string // every string in them, among which the names of cases are
}

// exists looks for a test by its name in the table: the folder of its package, the
// function, and the case after a slash.
func exists(t *testing.T, known map[string]tested, name string) error {
	t.Helper()
	dir, rest, _ := strings.Cut(name, " ")
	function, part, isCase := strings.Cut(rest, "/")
	p, ok := known[dir]
	if !ok {
		p = read(t, dir)
		known[dir] = p
	}
	if !p.functions[function] {
		return fmt.Errorf("%s has no test %s", dir, function)
	}
	if isCase && !slices.Contains(p.texts, part) {
		return fmt.Errorf("%s of %s has no case %q", function, dir, part)
	}
	return nil
}

// read parses the test files of a folder, whatever their build tags.
func read(t *testing.T, dir string) tested {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no test files, %v", dir, err)
	}
	p := tested{functions: map[string]bool{}}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				p.functions[f.Name.Name] = true
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if s, err := strconv.Unquote(l.Value); err == nil {
					p.texts = append(p.texts, s)
				}
			}
			return true
		})
	}
	return p
}

// TestMissingTestIsNoticed: a name that nobody has is an error.
func TestMissingTestIsNoticed(t *testing.T) {
	known := map[string]tested{}
	for name, want := range map[string]string{
		"tests/hazards TestRows":                             "",
		"tests/hazards TestGone":                             "has no test TestGone",
		"hardener/fix TestMakeSettings/nothing of this name": "has no case",
	} {
		if err := exists(t, known, name); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const pageHead = `<!-- Written by: go test ./tests/hazards -run TestHazardsPage -update-page -->

# What a naive remedy breaks

Remedies of the benchmark that end in an outage when they are made word for word on a Kubespray cluster, what hardener does
instead, and the tests that prove it. A test of ` + "`tests/`" + ` runs on a live cluster or a real systemd, the others beside the
code. What is done about each single check is in [checks.md](checks.md).
`

// TestHazardsPage keeps docs/hazards.md what the rows say.
func TestHazardsPage(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(pageHead)
	for _, p := range parts {
		fmt.Fprintf(&b, "\n## %s\n\n| subject | what a naive remedy breaks | what is done instead | shown by |\n| --- | --- | --- | --- |\n", p.title)
		for _, r := range p.rows {
			var tests []string
			for _, name := range r.tests {
				tests = append(tests, "`"+name+"`")
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.subject, r.breaks, r.guard, strings.Join(tests, "<br>"))
		}
	}
	file := filepath.Join(root, "docs", "hazards.md")
	if *updatePage {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(got)); diff != "" {
		t.Errorf("docs/hazards.md is not what the rows say (-rows +page): go test ./tests/hazards -run TestHazardsPage -update-page\n%s", diff)
	}
}
