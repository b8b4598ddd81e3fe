package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// placeholder is the one committed file of the folder.
const placeholder = ".gitignore"

// upToDate tells whether the folder's stamp names this pin and the files in it
// are still those that were copied.
func upToDate(cfg string, p pin) bool {
	text, err := os.ReadFile(stampPath(cfg))
	if err != nil {
		return false
	}
	digest, err := digestFolder(cfg)
	return err == nil && string(text) == stampText(p, digest)
}

// stampText names what a folder holds.
func stampText(p pin, digest string) string {
	return fmt.Sprintf("%s %s %s\n%s\n", p.path, p.version, p.hash, digest)
}

// digestFolder is the SHA-256 over names and contents of the copied files.
func digestFolder(cfg string) (string, error) {
	h := sha256.New()
	err := fs.WalkDir(os.DirFS(cfg), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == placeholder || name == stamp {
			return err
		}
		content, err := os.ReadFile(filepath.Join(cfg, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n", name, len(content))
		h.Write(content)
		return nil
	})
	return fmt.Sprintf("sha256:%x", h.Sum(nil)), err
}

// replace fills a new folder beside cfg from the module's zip and swaps the
// two. It returns the number of files. Whoever looks sees the old folder or the
// new one; in between there is a moment without any, which embeds nothing.
func replace(cfg, zipName string, p pin) (int, error) {
	work, err := os.MkdirTemp(filepath.Dir(cfg), ".cfg-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	fresh := filepath.Join(work, "new")
	n, err := extract(fresh, zipName, p)
	if err != nil {
		return 0, err
	}
	if err := keepPlaceholder(fresh, cfg); err != nil {
		return 0, err
	}
	digest, err := digestFolder(fresh)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(stampPath(fresh), []byte(stampText(p, digest)), 0o644); err != nil {
		return 0, err
	}
	old := filepath.Join(work, "old")
	if err := os.Rename(cfg, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("replace %s: %w", cfg, err)
	}
	if err := os.Rename(fresh, cfg); err != nil {
		if upToDate(cfg, p) { // somebody else generated it meanwhile
			return n, nil
		}
		return 0, errors.Join(fmt.Errorf("replace %s: %w", cfg, err), os.Rename(old, cfg))
	}
	return n, nil
}

// keepPlaceholder carries the committed file over, so that git sees no change.
func keepPlaceholder(fresh, cfg string) error {
	content, err := os.ReadFile(filepath.Join(cfg, placeholder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(fresh, placeholder), content, 0o644)
}

// extract writes the cfg folder of the module's zip to dir and returns the
// number of files.
func extract(dir, zipName string, p pin) (int, error) {
	r, err := openVerified(zipName, p)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	prefix := p.path + "@" + p.version + "/cfg/"
	n := 0
	for _, f := range r.File {
		name, ok := strings.CutPrefix(f.Name, prefix)
		if !ok {
			continue
		}
		if !fs.ValidPath(name) || path.Base(name) == stamp {
			return 0, fmt.Errorf("extract %s: unexpected file %q", zipName, f.Name)
		}
		content, err := f.Open()
		if err != nil {
			return 0, err
		}
		err = writeFile(filepath.Join(dir, filepath.FromSlash(name)), content)
		content.Close()
		if err != nil {
			return 0, err
		}
		n++
	}
	if n == 0 {
		return 0, fmt.Errorf("extract %s: no files below %s", zipName, prefix)
	}
	return n, nil
}

func writeFile(name string, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, content); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
