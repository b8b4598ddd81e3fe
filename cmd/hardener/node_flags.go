package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/kubectl"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// rootVariable is the default of --root. The image sets it, so that a container
// with the host mounted takes the host for the node, not itself.
const rootVariable = "HARDENER_ROOT"

// hostFlags say where the node is.
type hostFlags struct {
	root string
	proc string

	startedBy string // gate.Options.StartedBy
}

func (f *hostFlags) add(flags *pflag.FlagSet) {
	root := os.Getenv(rootVariable)
	if root == "" {
		root = "/"
	}
	flags.StringVar(&f.root, "root", root, "root of the node's file tree; in the image $"+rootVariable+" is /host")
	flags.StringVar(&f.proc, "proc", "", "the node's proc file system (default ROOT/proc)")
}

// procDir is where the node's processes are seen.
func (f *hostFlags) procDir() string {
	if f.proc != "" {
		return f.proc
	}
	return filepath.Join(f.root, "proc")
}

// open opens the node. Whoever calls it closes the result.
func (f *hostFlags) open() (*host.FS, error) {
	tree, err := host.Open(f.root, host.Proc(f.proc))
	if err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	return tree, nil
}

// checkFlags are what check and fix share: kube-bench's words and meaning.
type checkFlags struct {
	hostFlags
	benchmark  string
	version    string
	targets    []string
	checks     []string
	groups     []string
	skip       []string
	profiles   string
	raw        bool
	kubeconfig string
}

func (f *checkFlags) add(flags *pflag.FlagSet) {
	f.addNode(flags)
	flags.StringSliceVarP(&f.targets, "targets", "s", nil, "sections to check: master,node,etcd,controlplane,policies (default: by the roles of the node)")
	flags.StringSliceVarP(&f.checks, "check", "c", nil, "only these checks, such as 1.1.1,1.2.2")
	flags.StringSliceVarP(&f.groups, "group", "g", nil, "only these groups, such as 1.1,2.2")
	flags.StringSliceVar(&f.skip, "skip", nil, "checks or groups not to run")
}

// addNode adds the flags that say which node and which benchmark, without those
// that select checks.
func (f *checkFlags) addNode(flags *pflag.FlagSet) {
	f.hostFlags.add(flags)
	f.addBenchmark(flags)
}

// addBenchmark adds the flags that say which benchmark.
func (f *checkFlags) addBenchmark(flags *pflag.FlagSet) {
	flags.StringVar(&f.benchmark, "benchmark", "", "benchmark to check, such as cis-1.12 (default: chosen by the Kubernetes version)")
	flags.StringVar(&f.version, "kubernetes-version", "", "Kubernetes version that chooses the benchmark, such as 1.34 (default: the API server's, else the node's)")
	flags.StringVar(&f.profiles, "profiles", "", "a kube-bench cfg folder to use instead of the embedded one")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig for the version and the policies checks (default on a live node: $KUBECONFIG, else the Job's service account)")
}

// options turn the flags into what a run needs, once every combination of them
// has been checked. The node is opened last; whoever calls it closes it.
func (f *checkFlags) options() (hardener.Options, *host.FS, error) {
	if len(f.checks) > 0 && len(f.groups) > 0 {
		return hardener.Options{}, nil, usage("", "--check and --group exclude each other")
	}
	if f.benchmark != "" && f.version != "" {
		return hardener.Options{}, nil, usage("the version only serves to choose a benchmark", "--benchmark and --kubernetes-version exclude each other")
	}
	catalog, err := f.catalog()
	if err != nil {
		return hardener.Options{}, nil, err
	}
	tree, err := f.open()
	if err != nil {
		return hardener.Options{}, nil, err
	}
	connect := f.connect
	var free func(string) (uint64, error)
	if tree.LiveProcesses() { // a copied tree lies on a disk of its reader
		free = func(path string) (uint64, error) {
			free, _, err := tree.Space(path)
			return free, err
		}
	}
	if f.kubeconfig == "" && !tree.LiveProcesses() {
		// A copied tree is not of the cluster that $KUBECONFIG happens to name.
		connect = func() (*rest.Config, error) { return nil, kubectl.ErrNoServer }
	}
	return hardener.Options{
		FS:      tree,
		Catalog: catalog,
		Commands: func() map[string]shell.Command {
			return map[string]shell.Command{"kubectl": kubectl.Command(connect)}
		},
		ServerVersion:     func(ctx context.Context) (string, error) { return kubectl.ServerVersion(ctx, connect) },
		Env:               auditEnvironment(),
		Benchmark:         f.benchmark,
		KubernetesVersion: strings.TrimPrefix(f.version, "v"),
		Targets:           f.targets,
		Checks:            f.checks,
		Groups:            f.groups,
		Skip:              f.skip,
		Raw:               f.raw,
		Picture:           !tree.LiveProcesses(),
		Times:             tree.LiveProcesses(),
		FreeBytes:         free,
		Made:              func() map[string]bool { return made(tree) },
		Program:           "hardener " + version,
	}, tree, nil
}

func (f *checkFlags) catalog() (*profile.Catalog, error) {
	var cfg fs.FS
	if f.profiles != "" {
		info, err := os.Stat(f.profiles)
		if err != nil {
			return nil, usage("", "--profiles: %w", err)
		}
		if !info.IsDir() {
			return nil, usage("give the cfg folder that holds config.yaml", "--profiles: %s is not a folder", f.profiles)
		}
		cfg = os.DirFS(f.profiles)
	} else {
		var err error
		if cfg, err = profiles.FS(); err != nil {
			return nil, err
		}
	}
	catalog, err := profile.Open(cfg)
	if err != nil {
		return nil, usage("", "%w", err)
	}
	return catalog, nil
}

// connect finds the API server for kubectl in audits. It never takes a
// kubeconfig from the node's tree by itself: a copied tree must not make its
// reader talk to the cluster that it came from.
func (f *checkFlags) connect() (*rest.Config, error) {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: f.kubeconfig}
	if f.kubeconfig == "" {
		rules.Precedence = filepath.SplitList(os.Getenv("KUBECONFIG")) // merged, those that are missing left out
	}
	// Without any of these files it is the service account, as for kubectl.
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, kubectl.ErrNoServer
	case err != nil:
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return config, nil
}

// auditEnvironment is what audits may see of the environment: what changes the
// output of ps and the tools, nothing else.
func auditEnvironment() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range []string{"COLUMNS", "LANG", "LC_ALL", "LC_CTYPE", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// oneOf is a flag that takes one of a few words.
type oneOf struct {
	value   string
	allowed []string
}

func (o *oneOf) String() string { return o.value }
func (o *oneOf) Type() string   { return strings.Join(o.allowed, "|") }

func (o *oneOf) Set(value string) error {
	for _, word := range o.allowed {
		if value == word {
			o.value = value
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(o.allowed, ", "))
}

// complete offers the words of a oneOf flag to the shell.
func (o *oneOf) complete(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return o.allowed, cobra.ShellCompDirectiveNoFileComp
}
