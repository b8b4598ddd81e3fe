package shell

import (
	"context"
	"io/fs"
	"os"
	"strings"
)

// finder walks trees for one invocation of find.
type finder struct {
	*invocation
	follow        byte // P, L or H
	minDepth      int
	maxDepth      int // -1 for none
	expr          findExpr
	execs         []*findExec
	failed, ended bool
}

// found is a file that find has come to.
type found struct {
	path  string // as find prints it
	abs   string
	info  fs.FileInfo
	depth int
	prune bool
	above *found // the directory that it is in
}

// find is GNU find with the tests and actions that audits use. Like the real
// one it takes a directory in the order of the file system: which line of its
// output comes first decides kube-bench's expected_result.
func find(ctx context.Context, c *invocation) int {
	f := &finder{invocation: c, follow: 'P', maxDepth: -1}
	args := c.args[1:]
	for len(args) > 0 && (args[0] == "-P" || args[0] == "-L" || args[0] == "-H") {
		f.follow, args = args[0][1], args[1:]
	}
	var paths []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") && args[0] != "!" && args[0] != "(" {
		paths, args = append(paths, args[0]), args[1:]
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	if !f.parse(args) {
		return 1
	}
	for _, path := range paths {
		f.start(ctx, path)
		if f.ended {
			break
		}
	}
	for _, e := range f.execs {
		f.flush(ctx, e)
	}
	if f.failed {
		return 1
	}
	return 0
}

func (f *finder) start(ctx context.Context, path string) {
	info, err := f.stat(f.path(path), f.follow != 'P')
	if err != nil && f.follow != 'P' {
		info, err = f.stat(f.path(path), false) // a dangling link is itself
	}
	if err != nil || path == "" {
		f.complain(path, err)
		return
	}
	f.visit(ctx, &found{path: path, abs: f.path(path), info: info})
}

func (f *finder) complain(path string, err error) {
	f.failed = true
	text := "No such file or directory"
	if err != nil {
		text = reason(err)
	}
	f.errorf("%s: %s", f.quoteLocale(path), text)
}

func (f *finder) visit(ctx context.Context, at *found) {
	if f.ended || f.ctx.Err() != nil {
		return
	}
	if at.depth >= f.minDepth {
		f.expr(ctx, at)
	}
	if f.ended || at.prune || !at.info.IsDir() || f.maxDepth >= 0 && at.depth >= f.maxDepth {
		return
	}
	entries, err := f.list(at.abs)
	if err != nil {
		f.complain(at.path, err)
		return
	}
	base := strings.TrimSuffix(at.path, "/") + "/"
	for _, e := range entries {
		child := &found{path: base + e.Name(), depth: at.depth + 1, above: at}
		child.abs = absolute(f.dir, child.path)
		var err error
		if child.info, err = f.childInfo(child.abs, e); err != nil {
			f.complain(child.path, err)
			continue
		}
		if loop := f.loop(child); loop != nil {
			f.failed = true
			f.errorf("File system loop detected; '%s' is part of the same file system loop as '%s'.", child.path, loop.path)
			continue
		}
		f.visit(ctx, child)
	}
}

// list is a directory's entries, unsorted when the file system tells its order.
func (f *finder) list(abs string) ([]fs.DirEntry, error) {
	f.read(trimSlash(abs))
	dir, err := f.runner.FS.Open(fsName(abs))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if d, ok := dir.(fs.ReadDirFile); ok {
		return d.ReadDir(-1)
	}
	return f.readDir(abs)
}

// loop is the directory above that a link has led back to (-L).
func (f *finder) loop(at *found) *found {
	if f.follow != 'L' || !at.info.IsDir() {
		return nil
	}
	for dir := at.above; dir != nil; dir = dir.above {
		if os.SameFile(dir.info, at.info) {
			return dir
		}
	}
	return nil
}

// childInfo is the state of a directory's entry, from the listing when that has
// it.
func (f *finder) childInfo(abs string, e fs.DirEntry) (fs.FileInfo, error) {
	if f.follow == 'L' && e.Type()&fs.ModeSymlink != 0 {
		if info, err := f.stat(abs, true); err == nil {
			return info, nil
		}
	}
	return e.Info()
}
