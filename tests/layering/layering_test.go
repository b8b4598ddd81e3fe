// Package layering keeps the architectural promises of the repository: which
// package may import which, and that only one of them writes to a node.
package layering

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/kubespray-hardener/kubespray-hardener"
	root   = "../.."
)

// mayImport lists the packages of this module that a package may import. A
// package that is not listed may not exist: name it here with its place in the
// flow (see hardener/hardener.go).
var mayImport = map[string][]string{
	"profiles":          {},
	"profiles/generate": {},
	"manifests":         {},

	// The image is made from compiled programs, whatever is in them.
	"images":             {},
	"images/source":      {},
	"cmd/hardener-image": {"images", "images/source"},

	"hardener/profile":    {},
	"hardener/check":      {"hardener/profile"},
	"hardener/node":       {},
	"hardener/origin":     {"hardener/node"},
	"hardener/shell":      {"hardener/node"},
	"hardener/kubectl":    {"hardener/shell"},
	"hardener/adjudicate": {"hardener/check", "hardener/node", "hardener/profile"},
	"hardener/fix":        {"hardener/check", "hardener/node", "hardener/profile"},
	"hardener/host":       {},
	"hardener/txn":        {"hardener/host"},
	"hardener/systemd":    {"hardener/host"},
	"hardener/gate":       {"hardener/node", "hardener/systemd"},
	"hardener/deadman":    {"hardener/host", "hardener/systemd", "hardener/txn"},
	"hardener/report":     {"hardener/check", "hardener/fix", "hardener/node", "hardener/profile"},
	"hardener/inventory":  {"hardener/fix", "hardener/node"},
	"hardener/events":     {"hardener/check", "hardener/fix", "hardener/report"},
	"hardener/metrics":    {"hardener/check", "hardener/report"},
	"hardener/rollout":    {"hardener/events", "hardener/fix", "hardener/report", "manifests"},
	"hardener/watch":      {"hardener/host"},
	"hardener/drift": {
		"hardener", "hardener/check", "hardener/events", "hardener/fix", "hardener/metrics", "hardener/node", "hardener/report", "hardener/watch",
	},
	"hardener/sample": {"hardener/node"},
	"hardener": {
		"hardener/adjudicate", "hardener/check", "hardener/fix", "hardener/node",
		"hardener/profile", "hardener/report", "hardener/shell", "hardener/txn",
	},

	"cmd/hardener/ansible": {},
	"cmd/hardener": {
		"cmd/hardener/ansible", "hardener", "hardener/deadman", "hardener/drift", "hardener/fix", "hardener/gate", "hardener/host", "hardener/inventory", "hardener/kubectl", "hardener/metrics", "hardener/node",
		"hardener/origin", "hardener/profile", "hardener/report", "hardener/rollout", "hardener/sample", "hardener/shell", "hardener/systemd", "hardener/txn",
		"hardener/watch", "profiles",
	},
}

// restricted lists imports from outside that only some packages may have, with
// the reason. A path ending in "/" stands for everything below it.
var restricted = []struct {
	path   string
	only   []string
	reason string
}{
	{"os/exec", []string{"profiles/generate", "images/source", "cmd/hardener/ansible"}, "a run forks nothing: audits run in process, restarts go over D-Bus; only an inventory is read by Ansible's own program"},
	{"k8s.io/client-go/util/jsonpath", []string{"hardener/check", "hardener/kubectl"}, "path items are judged by the very code that kube-bench uses"},
	{"k8s.io/client-go/", []string{"hardener/gate", "hardener/kubectl", "hardener/rollout", "cmd/hardener"}, "only cluster-facing packages talk to the API server"},
	{"k8s.io/cri-api/", []string{"hardener/gate"}, "gates ask the container runtime, and change nothing there"},
	{"google.golang.org/grpc", []string{"hardener/gate"}, "gates ask the container runtime, and change nothing there"},
	{"github.com/google/go-containerregistry/", []string{"images", "cmd/hardener-image"}, "images are no business of a node"},
	{"github.com/spf13/cobra", []string{"cmd/hardener", "cmd/hardener-image"}, "packages know nothing of command lines"},
	{"github.com/sirupsen/logrus", []string{"cmd/hardener"}, "packages return errors and values; only commands log"},
	{"github.com/prometheus/", []string{"hardener/metrics"}, "one place knows the names of metrics"},
	{"github.com/coreos/go-systemd/", []string{"hardener/systemd"}, "one place talks to systemd"},
	{"github.com/godbus/dbus/", []string{"hardener/systemd"}, "one place talks to systemd"},
	{"github.com/fsnotify/", []string{"hardener/watch"}, "one place waits for changes"},
	{"mvdan.cc/sh/", []string{"hardener/shell"}, "one place runs scripts"},
	{"log", nil, "packages return errors and values; commands log with logrus"},
	{"log/slog", nil, "commands log with logrus"},
}

// writers are the functions that change a file system.
var writers = map[string][]string{
	"os": {
		"Chmod", "Chown", "Chtimes", "Create", "CreateTemp", "Lchown", "Link", "Mkdir", "MkdirAll", "MkdirTemp",
		"OpenFile", "Remove", "RemoveAll", "Rename", "Symlink", "Truncate", "WriteFile", "CopyFS",
	},
	"unix":    {"*"},
	"syscall": {"*"},
}

// mayWrite are the packages that may call writers, with the reason.
var mayWrite = map[string]string{
	"hardener/txn":    "the only writer of a node",
	"hardener/sample": "unpacks the sample node into a folder of its own",
	"cmd/hardener":    "writes --output-file and the demo's folder",

	"cmd/hardener/ansible": "a file of groups in a folder of its own, for ansible-inventory",
	"profiles/generate":    "copies the profiles at build time",
	"images/source":        "compiles into a folder of its own",
}

// readingSyscalls are the system calls of packages unix and syscall that change
// nothing.
var readingSyscalls = []string{
	"ByteSliceToString", "Close", "FcntlInt", "Getdents", "Statfs_t", "Errno", "Fstat", "Fstatfs", "Fstatat", "Getxattr", "ENOENT", "ENOTDIR", "ELOOP", "Open", "Openat", "Openat2", "OpenHow",
	// fanotify's marks are this process's own and ask for no permission events, so
	// nothing on the node waits for them.
	"FanotifyInit", "FanotifyMark", "NameToHandleAt",
	"PidfdOpen", "Poll", "PollFd", "Pread", "Read", "ReadDirent", "Readlink", "Readlinkat", "Stat", "Lstat", "Statfs", "Stat_t", "Timespec", "Signal", "SIGTERM",
}

type pkg struct {
	path  string // relative to the module
	files map[string]*ast.File
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		allowed, known := mayImport[p.path]
		if !known {
			t.Errorf("%s: not in the table of packages: add it to mayImport with what it may import", p.path)
			continue
		}
		for file, f := range p.files {
			for _, spec := range f.Imports {
				path, _ := strconv.Unquote(spec.Path.Value)
				if inner, ok := strings.CutPrefix(path, module+"/"); ok {
					if !slices.Contains(allowed, inner) {
						t.Errorf("%s: may not import %s", file, inner)
					}
					continue
				}
				for _, rule := range restricted {
					if path != rule.path && !(strings.HasSuffix(rule.path, "/") && strings.HasPrefix(path, rule.path)) {
						continue
					}
					if !slices.Contains(rule.only, p.path) {
						t.Errorf("%s: may not import %s: %s", file, path, rule.reason)
					}
					break // the first rule that fits decides
				}
			}
		}
	}
}

// TestProgramWithoutRegistry wants the program that runs on nodes to link
// nothing of what makes and pushes its image, through whatever package.
func TestProgramWithoutRegistry(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"/cmd/hardener").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, module+"/hardener") {
		t.Fatalf("go list names %d packages, and hardener is not among them", len(deps))
	}
	for _, dep := range deps {
		for _, forbidden := range []string{"github.com/google/go-containerregistry/", "github.com/docker/", "github.com/CycloneDX/", module + "/images"} {
			if strings.HasPrefix(dep, forbidden) {
				t.Errorf("cmd/hardener links %s: images are no business of a node", dep)
			}
		}
	}
}

func TestOnlyTxnWrites(t *testing.T) {
	for _, p := range packages(t) {
		if mayWrite[p.path] != "" {
			continue
		}
		for file, f := range p.files {
			ast.Inspect(f, func(n ast.Node) bool {
				selector, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				name, ok := selector.X.(*ast.Ident)
				if !ok || !imports(f, name.Name) {
					return true
				}
				banned := writers[name.Name]
				if slices.Contains(banned, selector.Sel.Name) || (slices.Contains(banned, "*") && writesBySyscall(selector.Sel.Name)) {
					t.Errorf("%s: calls %s.%s: only these packages may write: %v", file, name.Name, selector.Sel.Name, slices.Sorted(maps.Keys(mayWrite)))
				}
				return true
			})
		}
	}
}

// writesBySyscall tells whether a name of package unix or syscall may change
// something; constants are upper case and harmless by themselves.
func writesBySyscall(name string) bool {
	return !slices.Contains(readingSyscalls, name) && name != strings.ToUpper(name)
}

// imports tells whether an identifier of a file is the name of an import whose
// writers are known.
func imports(f *ast.File, name string) bool {
	for _, spec := range f.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		if spec.Name == nil && filepath.Base(path) == name && writers[name] != nil {
			return true
		}
	}
	return false
}

func TestNoInit(t *testing.T) {
	for _, p := range packages(t) {
		for file, f := range p.files {
			for _, declaration := range f.Decls {
				if fn, ok := declaration.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: has an init function: pass values instead", file)
				}
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		documented := slices.ContainsFunc(slices.Collect(maps.Values(p.files)), func(f *ast.File) bool { return f.Doc != nil })
		if !documented {
			t.Errorf("%s: no package comment: say what the package owns and what it leaves to others", p.path)
		}
	}
}

// packages are the packages of the module that make up the program, without
// their tests.
func packages(t *testing.T) []pkg {
	t.Helper()
	byPath := map[string]*pkg{}
	for _, top := range []string{"cmd", "hardener", "images", "manifests", "profiles"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d os.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "testdata" || isModule(path)) {
				return filepath.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			dir, _ := filepath.Rel(root, filepath.Dir(path))
			if byPath[dir] == nil {
				byPath[dir] = &pkg{path: dir, files: map[string]*ast.File{}}
			}
			file, _ := filepath.Rel(root, path)
			byPath[dir].files[file] = f
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var all []pkg
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		all = append(all, *byPath[path])
	}
	if len(all) < 10 {
		t.Fatalf("found only %d packages below %s", len(all), root)
	}
	return all
}

// isModule tells whether a folder is a Go module of its own.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}
