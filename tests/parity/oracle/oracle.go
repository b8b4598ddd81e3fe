// Package oracle builds the programs that the parity tests and the benchmark
// compare: kube-bench from its pinned module, hardener from this repository,
// and the inmate that stands in for the processes of a node.
//
// It leaves to others what is compared (package parity), and where the programs
// run (package cell).
package oracle

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/tests/cache"
)

const kubeBenchModule = "github.com/aquasecurity/kube-bench"

// KubeBench is kube-bench's program and the cfg folder of the same module.
type KubeBench struct {
	Program string // absolute path
	Cfg     string // absolute path
}

// BuildKubeBench returns the kube-bench that tests/kubebench pins. It is built
// once, which takes minutes, and reused from the cache. repo is the repository's root.
func BuildKubeBench(ctx context.Context, repo string) (KubeBench, error) {
	dir := filepath.Join(repo, "tests", "kubebench")
	if _, err := run(ctx, dir, nil, "go", "mod", "download", kubeBenchModule); err != nil {
		return KubeBench{}, fmt.Errorf("oracle: kube-bench: %w", err)
	}
	out, err := run(ctx, dir, nil, "go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", kubeBenchModule)
	if err != nil {
		return KubeBench{}, fmt.Errorf("oracle: kube-bench: %w", err)
	}
	version, source, _ := strings.Cut(strings.TrimSpace(out), " ")
	programs, err := cache.Programs(ctx, cache.Module{Name: "kube-bench-" + version, Dir: dir})
	if err != nil {
		return KubeBench{}, fmt.Errorf("oracle: %w", err)
	}
	return KubeBench{Program: filepath.Join(programs, "kube-bench"), Cfg: filepath.Join(source, "cfg")}, nil
}

// BuildHardener builds cmd/hardener of the repository into the folder dir and
// returns the program's path.
func BuildHardener(ctx context.Context, repo, dir string) (string, error) {
	program := filepath.Join(dir, "hardener")
	return program, build(ctx, repo, "./cmd/hardener", program)
}

// BuildInmate builds the inmate into the folder dir and returns the program's
// path.
func BuildInmate(ctx context.Context, repo, dir string) (string, error) {
	program := filepath.Join(dir, "inmate")
	return program, build(ctx, repo, "./tests/parity/cell/inmate", program)
}

// Repository is the root of the repository that holds the working directory.
func Repository(ctx context.Context) (string, error) {
	out, err := run(ctx, "", nil, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", fmt.Errorf("oracle: repository: %w", err)
	}
	return strings.TrimSpace(out), nil
}

// build compiles a static program and puts it in place atomically, so that a
// second build at the same time, or one that is interrupted, does no harm.
func build(ctx context.Context, dir, pkg, program string) error {
	temp, err := os.MkdirTemp(filepath.Dir(program), ".build-")
	if err != nil {
		return fmt.Errorf("oracle: build %s: %w", pkg, err)
	}
	defer os.RemoveAll(temp)
	part := filepath.Join(temp, "program")
	if _, err := run(ctx, dir, []string{"CGO_ENABLED=0"}, "go", "build", "-ldflags=-s -w", "-o", part, pkg); err != nil {
		return fmt.Errorf("oracle: build %s: %w", pkg, err)
	}
	if err := os.Rename(part, program); err != nil {
		return fmt.Errorf("oracle: build %s: %w", pkg, err)
	}
	return nil
}

func run(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
