package component

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/kubespray-hardener/kubespray-hardener/tests/cache"
)

const (
	release       = "bookworm"
	defaultMirror = "http://deb.debian.org/debian"
)

// imagePackages returns a tree with the unpacked packages that images need and
// nodes do not have, without what these depend on.
func imagePackages(ctx context.Context) (string, error) {
	packages := []string{"busybox-static", "libnginx-mod-stream", "nginx"}
	name := strings.Join([]string{"image-packages", release, runtime.GOARCH}, "-")
	return cache.Entry(ctx, name, packages, func(dir string) error {
		download := filepath.Join(dir, "download")
		if err := debootstrap(ctx, download, "--download-only", "--include="+strings.Join(packages, ",")); err != nil {
			return err
		}
		for _, name := range packages {
			debs, err := filepath.Glob(filepath.Join(download, "var/cache/apt/archives", name+"_*.deb"))
			if err != nil {
				return err
			}
			if len(debs) != 1 {
				return fmt.Errorf("debootstrap downloaded %d packages %s, want 1", len(debs), name)
			}
			if _, err := run(ctx, "dpkg-deb", "--extract", debs[0], dir); err != nil {
				return err
			}
		}
		return os.RemoveAll(download)
	})
}

// debootstrap runs in namespaces of its own, so that its mounts and processes
// end with it, however it ends.
func debootstrap(ctx context.Context, dir string, args ...string) error {
	args = append(args, "--variant=minbase", release, dir, mirror(ctx))
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", `umask 022 && exec debootstrap "$@"`, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	_, err := output(cmd)
	return err
}

// mirror is the one that the host itself uses, if it is of the same release.
func mirror(ctx context.Context) string {
	out, err := run(ctx, "apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)")
	if err != nil {
		return defaultMirror
	}
	for line := range strings.Lines(out) {
		if suite, uri, _ := strings.Cut(strings.TrimSpace(line), " "); suite == release && uri != "" {
			return strings.TrimSuffix(uri, "/")
		}
	}
	return defaultMirror
}
