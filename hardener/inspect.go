package hardener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// inspection is what is known about a node before its checks run.
type inspection struct {
	Options
	procs     node.Processes
	users     node.Users
	facts     node.Facts
	benchmark string
	targets   []string
	note      string // on the choice of the benchmark
	detected  string // kube-bench's detected_version: none when it was told (cmd/common.go:316-353)
}

// Detect tells how Kubernetes is installed on a node.
func Detect(o Options) (node.Facts, error) {
	in, err := look(o)
	return in.facts, err
}

// look reads the process table, the users and the layout.
func look(o Options) (*inspection, error) {
	in := &inspection{Options: o}
	var err error
	if in.procs, err = node.ReadProcesses(o.FS); err != nil {
		return in, fmt.Errorf("read process table: %w", err)
	}
	if in.users, err = node.ReadUsers(o.FS); err != nil {
		return in, fmt.Errorf("read users: %w", err)
	}
	if o.Raw && o.Benchmark != "" {
		return in, nil // nothing depends on the layout
	}
	if in.facts, err = node.Detect(o.FS, in.procs, in.users); err != nil {
		return in, fmt.Errorf("detect layout: %w", err)
	}
	if o.Times {
		if err := in.facts.FindUnread(o.FS, in.procs, time.Now()); err != nil {
			return in, fmt.Errorf("detect layout: %w", err)
		}
		if o.HasRead != nil {
			for name, c := range in.facts.Components {
				c.Unread = slices.DeleteFunc(c.Unread, func(file string) bool { return o.HasRead(c, file) })
				in.facts.Components[name] = c
			}
		}
	}
	if o.Picture {
		for name, component := range in.facts.Components {
			component.Running, component.PID, component.Argv = false, 0, nil
			in.facts.Components[name] = component
		}
	}
	return in, nil
}

// inspect looks at a node and chooses what to check on it.
func inspect(ctx context.Context, o Options) (*inspection, error) {
	if o.Benchmark != "" { // known already: its files are read while we look
		o.Catalog.Preload(o.Benchmark, o.Targets)
	}
	in, err := look(o)
	if err != nil {
		return nil, err
	}
	if !o.Raw && in.facts.Distribution.Name == "none" {
		return nil, errors.New("no Kubernetes on this node: neither its processes nor its files show any; hardener detect tells what was looked for")
	}
	if err := in.chooseBenchmark(ctx); err != nil {
		return nil, err
	}
	if err := in.chooseTargets(); err != nil {
		return nil, err
	}
	in.Catalog.Preload(in.benchmark, in.targets)
	return in, nil
}

func (in *inspection) chooseBenchmark(ctx context.Context) error {
	if in.benchmark = in.Benchmark; in.benchmark != "" {
		in.detected = "none"
		return nil
	}
	selection, err := in.selectByVersion(ctx)
	if err != nil {
		return err
	}
	in.benchmark, in.note = selection.Benchmark, selection.Note
	return nil
}

// selectByVersion follows kube-bench's order: the version that was given, the API
// server's, the node's (cmd/common.go:316-353).
func (in *inspection) selectByVersion(ctx context.Context) (profile.Selection, error) {
	var selection profile.Selection
	var err error
	if in.KubernetesVersion != "" {
		in.detected = "none"
		selection, err = in.Catalog.ForVersion(in.KubernetesVersion)
	} else {
		version := in.serverVersion(ctx)
		if version == "" {
			version = in.facts.Kubernetes.Version
		}
		if version == "" {
			return selection, &InputError{
				Err:  errors.New("cannot tell the Kubernetes version of this node"),
				Hint: "give --kubernetes-version 1.NN or --benchmark NAME",
			}
		}
		selection, err = in.Catalog.ForGitVersion("v" + strings.TrimPrefix(version, "v"))
		in.detected = selection.Detected
	}
	if err != nil {
		return selection, &InputError{Err: err, Hint: "--benchmark NAME chooses one of: " + strings.Join(in.Catalog.Names(), ", ")}
	}
	return selection, nil
}

// serverTimeout is how long the API server may take to say its version.
const serverTimeout = 5 * time.Second

// serverVersion is empty when no API server answers: the node's files do as well.
func (in *inspection) serverVersion(ctx context.Context) string {
	if in.ServerVersion == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	version, err := in.ServerVersion(ctx)
	if err != nil {
		return ""
	}
	return version
}

// chooseTargets checks the sections that were asked for, or takes those that
// fit the node: under --raw as the bare kube-bench command does (cmd/root.go:
// 71-139), else by its roles.
func (in *inspection) chooseTargets() error {
	offered, err := in.Catalog.Targets(in.benchmark)
	if err != nil {
		return &InputError{Err: err, Hint: "known benchmarks: " + strings.Join(in.Catalog.Names(), ", ")}
	}
	if len(in.Targets) > 0 {
		for _, target := range in.Targets {
			if !slices.Contains(offered, target) {
				return &InputError{Err: fmt.Errorf("benchmark %s has no target %q", in.benchmark, target), Hint: "targets: " + strings.Join(offered, ", ")}
			}
			in.targets = append(in.targets, target)
		}
		return nil
	}
	wanted, err := in.wantedTargets()
	if err != nil {
		return err
	}
	for _, target := range []string{"master", "controlplane", "etcd", "node", "policies", "managedservices"} {
		if slices.Contains(offered, target) && wanted[target] {
			in.targets = append(in.targets, target)
		}
	}
	if len(in.targets) == 0 {
		return &InputError{Err: fmt.Errorf("benchmark %s has no target for a node with these roles: %s", in.benchmark, strings.Join(in.facts.Roles, ", ")), Hint: "targets: " + strings.Join(offered, ", ")}
	}
	return nil
}

func (in *inspection) wantedTargets() (map[string]bool, error) {
	if in.Raw {
		master, err := in.Catalog.Running(in.benchmark, "master", in.lookup(in.procs))
		if err != nil {
			return nil, err
		}
		etcd, err := in.Catalog.Running(in.benchmark, "etcd", in.lookup(in.procs))
		if err != nil {
			return nil, err
		}
		return map[string]bool{"master": master, "controlplane": master, "etcd": etcd, "node": true, "policies": true, "managedservices": true}, nil
	}
	role := func(name string) bool { return slices.Contains(in.facts.Roles, name) }
	_, kubelet := in.facts.Components[node.Kubelet]
	return map[string]bool{
		"master": role("control-plane"), "controlplane": role("control-plane"), "policies": role("control-plane"),
		"etcd": role("etcd"), "node": kubelet || role("worker"),
	}, nil
}

// lookup answers what kube-bench asks a host when it resolves the variables of
// a profile.
func (in *inspection) lookup(procs node.Processes) profile.Lookup {
	return profile.Lookup{
		Exists: func(name string) (bool, error) {
			_, err := fs.Stat(in.FS, node.Name(name))
			switch {
			case err == nil:
				return true, nil
			case errors.Is(err, fs.ErrNotExist), strings.HasSuffix(err.Error(), "not a directory"):
				return false, nil
			}
			return false, err
		},
		Commands: func(comm string) []string {
			var lines []string
			for _, p := range procs.Named(comm) {
				lines = append(lines, p.Command())
			}
			return lines
		},
	}
}
