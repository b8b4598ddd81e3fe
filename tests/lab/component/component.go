// Package component builds and caches what the lab's nodes are made of: a Debian
// system, the programs of Kubernetes, etcd, containerd, the CNI plugins and
// kube-bench, and the container images, which nothing can pull in a lab. The
// programs come from the Go modules that the folders of ../components pin, the
// rest from Debian; nothing is fetched from elsewhere.
//
// It leaves to others the nodes' configuration (package kubespray) and how the
// trees become nodes (package machine).
package component

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/cache"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
)

// Kubernetes are the versions that Build knows, the default first.
var Kubernetes = []string{"v1.35.4", "v1.34.4", "v1.31.14"}

const (
	etcd       = "etcd-v3.6.5"
	containerd = "containerd-v2.2.1"
	cni        = "cni-v1.9.0"
	coreDNS    = "coredns-v1.15.0"
)

// Set is what a node is made of. The trees are absolute paths of folders that
// are laid out from / and that nobody may change: lower layers of an overlay.
type Set struct {
	OS         string // Debian with systemd; no host name, machine ID, resolv.conf or ssh host keys
	Kubernetes string // usr/local/bin/{kubeadm,kubectl,kubelet}
	Etcd       string // usr/local/bin/{etcd,etcdctl,etcdutl}
	Containerd string // usr/local/bin/{containerd,containerd-shim-runc-v2,ctr,runc}
	CNI        string // opt/cni/bin/*
	KubeBench  string // usr/local/bin/kube-bench, etc/kube-bench/cfg

	// Docker archives with uncompressed layers, absolute paths, for
	// `ctr -n k8s.io images import`.
	ControlPlaneImages []string // kube-apiserver, kube-controller-manager, kube-scheduler
	NodeImages         []string // kube-proxy and whatever else a pod runs, see Images
}

// Build returns what nodes of a Kubernetes version are made of and builds what
// the cache lacks, with the host's go and debootstrap: up to half an hour the
// first time, and root's rights. One line for each stage goes to log, with its
// seconds.
func Build(ctx context.Context, kubernetes string, log io.Writer) (Set, error) {
	set, err := build(ctx, kubernetes, log)
	if err != nil {
		return Set{}, fmt.Errorf("component: %w", err)
	}
	return set, nil
}

// System returns Set.OS alone, for nodes without Kubernetes.
func System(ctx context.Context, log io.Writer) (string, error) {
	b := builder{ctx: ctx, log: log}
	path := b.stage("system", func() (string, error) { return system(ctx) })
	if b.err != nil {
		return "", fmt.Errorf("component: %w", b.err)
	}
	return path, nil
}

func build(ctx context.Context, kubernetes string, log io.Writer) (Set, error) {
	if !slices.Contains(Kubernetes, kubernetes) {
		return Set{}, fmt.Errorf("no Kubernetes %s: the lab has %s", kubernetes, strings.Join(Kubernetes, ", "))
	}
	if os.Geteuid() != 0 {
		return Set{}, errors.New("a node's system can be built by root only")
	}
	repo, err := oracle.Repository(ctx)
	if err != nil {
		return Set{}, err
	}
	components := filepath.Join(repo, "tests", "lab", "components")
	b := builder{ctx: ctx, log: log}
	pinned := func(name, tags, ldflags string) string {
		return b.stage(name, func() (string, error) {
			return cache.Programs(ctx, cache.Module{Name: name, Dir: filepath.Join(components, name), Tags: tags, Ldflags: ldflags})
		})
	}

	var set Set
	set.OS = b.stage("system", func() (string, error) { return system(ctx) })
	extra := b.stage("packages of images", func() (string, error) { return imagePackages(ctx) })

	kubernetesPrograms := pinned("kubernetes-"+kubernetes, "", kubernetesLdflags(kubernetes))
	set.Kubernetes = b.tree("kubernetes-"+kubernetes, kubernetesPrograms, map[string]string{
		"usr/local/bin/kubeadm": "kubeadm",
		"usr/local/bin/kubectl": "kubectl",
		"usr/local/bin/kubelet": "kubelet",
	})
	set.Etcd = b.tree(etcd, pinned(etcd, "", ""), map[string]string{
		"usr/local/bin/etcd":    "server",
		"usr/local/bin/etcdctl": "etcdctl",
		"usr/local/bin/etcdutl": "etcdutl",
	})
	version := "-X github.com/containerd/containerd/v2/version.Version=" + strings.TrimPrefix(containerd, "containerd-")
	set.Containerd = b.tree(containerd, pinned(containerd, "no_btrfs,no_devmapper,no_zfs", version), map[string]string{
		"usr/local/bin/containerd":              "containerd",
		"usr/local/bin/containerd-shim-runc-v2": "containerd-shim-runc-v2",
		"usr/local/bin/ctr":                     "ctr",
		"usr/local/bin/runc":                    filepath.Join(set.OS, "usr/sbin/runc"), // where Kubespray puts it
	})
	version = "-X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=" + strings.TrimPrefix(cni, "cni-")
	set.CNI = b.tree(cni, pinned(cni, "", version), map[string]string{"opt/cni/bin": "."})
	coreDNSPrograms := pinned(coreDNS, "", "")

	var kubeBench oracle.KubeBench
	b.stage("kube-bench", func() (string, error) {
		kubeBench, err = oracle.BuildKubeBench(ctx, repo)
		return kubeBench.Program, err
	})
	set.KubeBench = b.tree("kube-bench", "", map[string]string{
		"usr/local/bin/kube-bench": kubeBench.Program,
		"etc/kube-bench/cfg":       kubeBench.Cfg,
	})

	control := b.stage("images of the control plane", func() (string, error) {
		return controlPlaneImages(ctx, kubernetes, kubernetesPrograms, set.OS)
	})
	proxy := b.stage("image of kube-proxy", func() (string, error) {
		return kubeProxyImage(ctx, kubernetes, kubernetesPrograms, set.OS)
	})
	others := b.stage("images of the nodes", func() (string, error) {
		return nodeImages(ctx, repo, coreDNSPrograms, set.OS, extra)
	})
	set.ControlPlaneImages = []string{control}
	set.NodeImages = []string{proxy, others}
	return set, b.err
}

// kubernetesLdflags gives the programs the version that Kubernetes' own build
// would.
func kubernetesLdflags(version string) string {
	part := strings.Split(strings.TrimPrefix(version, "v"), ".")
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, set := range []string{"gitVersion=" + version, "gitMajor=" + part[0], "gitMinor=" + part[1], "gitTreeState=clean"} {
			flags = append(flags, "-X "+pkg+"."+set)
		}
	}
	return strings.Join(flags, " ")
}

// builder runs the stages of a build; after a failure it runs no more.
type builder struct {
	ctx context.Context
	log io.Writer
	err error
}

func (b *builder) stage(name string, run func() (string, error)) string {
	if b.err != nil {
		return ""
	}
	begin := time.Now()
	path, err := run()
	if err != nil {
		b.err = err
		return ""
	}
	fmt.Fprintf(b.log, "component: %-28s %6.1f s\n", name, time.Since(begin).Seconds())
	return path
}

// tree lays out files of cached folders from /: target path to source path,
// relative to from or absolute. A folder stands for all its files. The files are
// hard links where the file system allows it.
func (b *builder) tree(name, from string, files map[string]string) string {
	if b.err != nil {
		return ""
	}
	recipe := []string{componentSource, from}
	for target, source := range files {
		recipe = append(recipe, target+"="+source)
	}
	slices.Sort(recipe)
	var path string
	path, b.err = cache.Entry(b.ctx, "tree-"+name, recipe, func(dir string) error {
		for target, source := range files {
			if !filepath.IsAbs(source) {
				source = filepath.Join(from, source)
			}
			if err := linkAll(source, filepath.Join(dir, target)); err != nil {
				return err
			}
		}
		return nil
	})
	return path
}

//go:embed component.go
var componentSource string

// linkAll puts a file, or a folder's files, at target, with the modes of a
// package that is installed, whatever the umask is and wherever they came from.
func linkAll(source, target string) error {
	return filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		destination := filepath.Join(target, relative)
		if err := makeFolders(filepath.Dir(destination)); err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm() == 0o755 && os.Link(path, destination) == nil {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		if err := os.WriteFile(destination, content, mode); err != nil {
			return err
		}
		return os.Chmod(destination, mode)
	})
}

// makeFolders is os.MkdirAll without the umask.
func makeFolders(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := makeFolders(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(path, 0o755)
}

// run runs a program and returns its output; what it wrote to standard error is
// in the error.
func run(ctx context.Context, name string, args ...string) (string, error) {
	return output(exec.CommandContext(ctx, name, args...))
}

func output(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()+" "+last(string(out))))
	}
	return string(out), nil
}

// last is the last line of a text: debootstrap reports errors on standard
// output, after a line for each package.
func last(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
}
