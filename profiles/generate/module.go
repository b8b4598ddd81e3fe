package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// modulePath is where the profiles come from.
const modulePath = "github.com/aquasecurity/kube-bench"

// pin is what go.mod and go.sum say about the module.
type pin struct {
	path, version string
	hash          string // h1:..., of the module's zip
}

// readPin reads the go.mod and go.sum in dir.
func readPin(dir string) (pin, error) {
	p := pin{path: modulePath}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return pin{}, err
	}
	for line := range strings.Lines(string(mod)) {
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(words) >= 2 && words[0] == p.path {
			p.version = words[1]
		}
	}
	if p.version == "" {
		return pin{}, fmt.Errorf("read %s: no requirement of %s", filepath.Join(dir, "go.mod"), p.path)
	}
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return pin{}, err
	}
	for line := range strings.Lines(string(sum)) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == p.path && words[1] == p.version {
			p.hash = words[2]
		}
	}
	if p.hash == "" {
		return pin{}, fmt.Errorf("read %s: no hash of %s %s", filepath.Join(dir, "go.sum"), p.path, p.version)
	}
	return p, nil
}

// download has the go command fetch the module into its cache and returns the
// path of the zip there.
func download(dir string, p pin) (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", p.path+"@"+p.version)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, runErr := cmd.Output()
	var module struct{ Zip, Error string }
	if err := json.Unmarshal(out, &module); err != nil || module.Zip == "" {
		reason := strings.TrimSpace(module.Error + "\n" + stderr.String())
		return "", fmt.Errorf("download %s %s: %w: %s", p.path, p.version, runErr, reason)
	}
	return module.Zip, nil
}

// openVerified opens a module's zip after comparing its hash with go.sum's.
func openVerified(name string, p pin) (*zip.ReadCloser, error) {
	r, err := zip.OpenReader(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	got, err := hash1(&r.Reader)
	if err == nil && got != p.hash {
		err = fmt.Errorf("checksum mismatch: zip %s, go.sum %s", got, p.hash)
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("verify %s %s: %w", p.path, p.version, err)
	}
	return r, nil
}

// hash1 is the h1 hash of go.sum: the SHA-256 of the sorted list of the files'
// SHA-256 sums and names (golang.org/x/mod/sumdb/dirhash).
func hash1(r *zip.Reader) (string, error) {
	files := append([]*zip.File(nil), r.File...)
	sort.Slice(files, func(i, j int) bool { return files[i].Name < files[j].Name })
	list := sha256.New()
	for _, f := range files {
		content, err := f.Open()
		if err != nil {
			return "", err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, content)
		content.Close()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(list, "%x  %s\n", sum.Sum(nil), f.Name)
	}
	return "h1:" + base64.StdEncoding.EncodeToString(list.Sum(nil)), nil
}
