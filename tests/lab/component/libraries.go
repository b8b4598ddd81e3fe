package component

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// withLibraries finds programs and libraries, and the dynamic linker and the
// libraries that they need. Each is taken from the first of the trees of
// installed Debian packages that has it. The result maps paths in an image whose
// /lib and /lib64 lead to /usr, without a leading slash, to the files' absolute
// paths.
func withLibraries(programs []string, trees []string) (map[string]string, error) {
	files := map[string]string{}
	sonames := map[string]bool{}
	queue := programs
	for len(queue) > 0 {
		program := queue[0]
		queue = queue[1:]
		if _, ok := files[program]; ok {
			continue
		}
		file, err := inTrees(trees, program)
		if err != nil {
			return nil, err
		}
		files[program] = file
		needed, err := neededBy(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, soname := range needed {
			if sonames[soname] {
				continue
			}
			sonames[soname] = true
			library, err := findLibrary(trees, soname)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			queue = append(queue, library)
		}
	}
	return files, nil
}

// neededBy returns the sonames that a program or library needs, and the path of
// its dynamic linker.
func neededBy(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			linker, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, err
			}
			needed = append(needed, strings.TrimRight(string(linker), "\x00"))
		}
	}
	return needed, nil
}

// findLibrary returns where a library is, below usr. A soname with a slash is
// the dynamic linker's path.
func findLibrary(trees []string, soname string) (string, error) {
	if path.IsAbs(soname) {
		return path.Join("usr", strings.TrimPrefix(soname, "/usr")), nil
	}
	for _, tree := range trees {
		for _, pattern := range []string{"usr/lib/*-linux-gnu", "lib/*-linux-gnu"} {
			found, err := filepath.Glob(filepath.Join(tree, pattern, soname))
			if err != nil {
				return "", err
			}
			if len(found) > 0 {
				relative := strings.TrimPrefix(found[0], tree+"/")
				return path.Join("usr", strings.TrimPrefix(relative, "usr/")), nil
			}
		}
	}
	return "", fmt.Errorf("needs %s, which no package has", soname)
}

// inTrees returns the absolute path of a file in the first tree that has it,
// below usr or, as packages that are only unpacked have it, beside it.
func inTrees(trees []string, file string) (string, error) {
	for _, tree := range trees {
		for _, candidate := range []string{file, strings.TrimPrefix(file, "usr/")} {
			resolved, err := inRoot(tree, candidate)
			if err == nil || !errors.Is(err, fs.ErrNotExist) {
				return resolved, err
			}
		}
	}
	return "", fmt.Errorf("%s: %w", file, fs.ErrNotExist)
}

// inRoot resolves a path in a tree, whose links are relative to the tree's root.
func inRoot(tree, file string) (string, error) {
	resolved, err := securejoin.SecureJoin(tree, file)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(resolved); err != nil {
		return "", err
	}
	return resolved, nil
}
