// Command generate copies kube-bench's profiles into profiles/cfg, from where
// package profiles embeds them.
//
// The version is pinned in profiles/kube-bench/go.mod. The files are taken from
// the module's zip after its hash was found equal to the one in that module's
// go.sum. The folder is replaced as a whole, its stamp tells what is in it, and
// a folder that is up to date is left alone. Run it anywhere inside the
// repository.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := findProfiles()
	if err != nil {
		return err
	}
	p, err := readPin(filepath.Join(dir, "kube-bench"))
	if err != nil {
		return err
	}
	cfg := filepath.Join(dir, "cfg")
	if upToDate(cfg, p) {
		return nil
	}
	zip, err := download(filepath.Join(dir, "kube-bench"), p)
	if err != nil {
		return err
	}
	n, err := replace(cfg, zip, p)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "profiles: %d files of %s %s\n", n, p.path, p.version)
	return nil
}

// findProfiles walks up from the working directory to the folder that holds
// kube-bench/go.mod, either itself or as profiles/kube-bench/go.mod.
func findProfiles() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		for _, candidate := range []string{dir, filepath.Join(dir, "profiles")} {
			if _, err := os.Stat(filepath.Join(candidate, "kube-bench", "go.mod")); err == nil {
				return candidate, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find profiles/kube-bench/go.mod: not in %s or above it", start)
		}
	}
}

// stamp is profiles.Stamp; that package cannot be imported here, as it does not
// compile while there is no folder to embed.
const stamp = ".stamp"

// stampPath is the stamp's place inside a cfg folder.
func stampPath(cfg string) string { return filepath.Join(cfg, stamp) }
