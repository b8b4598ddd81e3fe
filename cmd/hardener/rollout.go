package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
)

// rolloutOptions are the flags of rollout check and rollout fix.
type rolloutOptions struct {
	outputFlags
	kubeconfig string

	image    string
	allowTag bool
	choice   rollout.Choice
	steps    []string
	snapshot bool
	restart  bool
	wait     time.Duration
	timeout  time.Duration
	print    bool
	plan     bool
	accept   bool
	by       string // who had it started, see addStartedBy
}

const rolloutHelp = `
Workers come first: one alone, then up to --max-parallel at a time. Nodes with an
etcd member and those of the control plane follow, strictly one at a time; a fix
begins with none of them unless every API server answers on its own address with
its etcd, and every node that was Ready is Ready. The first failure ends the
rollout; the same command goes on where it stopped. A node that is down or
cordoned is skipped and said; while one of the control plane is, no other of them
is fixed. Etcd members on hosts without a kubelet are out of a Job's reach.

With --max-risk cluster a fix then takes steps across nodes, in phases: each on every
node that has a part in it before the next begins on any. They need all nodes, none
skipped. hardener rollout undo takes them back, in the other order.

  serving-certificates  Each kubelet asks for a serving certificate of the cluster,
                        approved when every name in it is its own node's; every
                        control plane looks at every kubelet's; then each API server
                        demands it, and has to reach logs and exec on every node.
  encryption-at-rest    One key of secretbox for all: every API server reads with it
                        before any writes with it; then every Secret is written anew,
                        proven in etcd and through every API server. Only with
                        --etcd-snapshot-stored: without a snapshot of etcd off the
                        nodes there would be no way back from a lost key.

A Lease keeps two rollouts from each other. The node's own gates are those of
hardener fix.

Exit codes:
  0  nothing fails
  1  findings remain, or nodes were skipped
  2  bad usage or input
  3  the rollout stopped before its end, or could not begin
  143  it was told to stop by a signal; the same command goes on`

func newRolloutCommand(s streams) *cobra.Command {
	c := &cobra.Command{
		Use:   "rollout",
		Short: "Check or fix every node of a cluster, each in a Job, safely ordered",
		Long: `rollout checks or fixes the nodes of a cluster from anywhere with a kubeconfig,
or from inside: one privileged Job for each node, safely ordered.
` + rolloutHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("hardener rollout --help lists the commands", "unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newRolloutRunCommand(s, "check"), newRolloutRunCommand(s, "fix"), newRolloutRunCommand(s, "undo"), newRolloutReportCommand(s))
	return c
}

func newRolloutRunCommand(s streams, command string) *cobra.Command {
	var o rolloutOptions
	words := map[string]struct{ short, long, usage string }{
		"check": {"Check every node; nothing is changed on any", "Runs hardener check on every node of a cluster, in a Job each.", "check"},
		"fix":   {"Fix every node", "Runs hardener fix on every node of a cluster, in a Job each.", "fix"},
		"undo":  {"Take steps across nodes back", "Takes back steps across nodes that a fix with --max-risk cluster made.", "undo --steps serving-certificates"},
	}[command]
	c := &cobra.Command{
		Use:   command,
		Short: words.short,
		Long:  words.long + "\n" + rolloutHelp,
		Example: strings.ReplaceAll(`  hardener rollout COMMAND --image registry.local/hardener@sha256:...
  hardener rollout COMMAND --image registry.local/hardener@sha256:... --plan
  hardener rollout COMMAND --image registry.local/hardener@sha256:... --print | kubectl apply -f -`, "COMMAND", words.usage),
		Args: noArguments,
	}
	flags := c.Flags()
	node := pflag.NewFlagSet(command, pflag.ContinueOnError) // what goes on to the command on the nodes
	addNodeFlags(node, command)
	flags.AddFlagSet(node)
	flags.StringVar(&o.image, "image", "", "the image of the Jobs, pinned by its digest")
	flags.BoolVar(&o.allowTag, "allow-tag", false, "take an image without a digest, such as one imported from an archive")
	if command != "undo" {
		flags.StringSliceVar(&o.choice.Nodes, "nodes", nil, "only these nodes")
		flags.StringVarP(&o.choice.Selector, "selector", "l", "", "only nodes with these labels")
	}
	if command != "check" {
		addStartedBy(flags, &o.by)
		flags.StringSliceVar(&o.steps, "steps", nil, "which steps across nodes: "+stepNames()+" (fix with --max-risk cluster: all that may be)")
		flags.BoolVar(&o.snapshot, "etcd-snapshot-stored", false, "you have a snapshot of etcd that is not on its nodes: encryption-at-rest is not begun without")
	}
	flags.StringVar(&o.choice.MaxParallel, "max-parallel", rollout.DefaultParallel, "how many workers at a time: a number, or a part of them, rounded up")
	flags.BoolVar(&o.restart, "restart", false, "begin with all nodes, also after one that stopped")
	flags.DurationVar(&o.wait, "wait", 0, "how long to wait for another rollout's Lease")
	flags.DurationVar(&o.timeout, "node-timeout", 2*time.Hour, "how long a node's Job may take")
	flags.BoolVar(&o.accept, "accept-findings", false, "exit code 0 also where findings remain or nodes were skipped, for Jobs")
	flags.BoolVar(&o.plan, "plan", false, "only show the order in which nodes would be taken")
	flags.BoolVar(&o.print, "print", false, "only print the manifests that run this from inside the cluster")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig (default: $KUBECONFIG, ~/.kube/config, else the Job's service account)")
	o.outputFlags.add(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		dryRun, _ := flags.GetBool("dry-run") // check has none
		o.choice.Disruptive = command != "check" && !dryRun
		if err := o.chooseSteps(command, flags); err != nil {
			return err
		}
		return runRollout(c.Context(), s, &o, command, changed(flags, node), changed(flags, nil))
	}
	return c
}

// addNodeFlags adds the flags that go on to check and fix as they are.
func addNodeFlags(flags *pflag.FlagSet, command string) {
	flags.String("benchmark", "", "benchmark to check, such as cis-1.12 (default: chosen by the Kubernetes version)")
	flags.String("kubernetes-version", "", "Kubernetes version that chooses the benchmark (default: the API server's)")
	flags.StringSliceP("targets", "s", nil, "sections to check (default: by the roles of each node)")
	flags.StringSliceP("check", "c", nil, "only these checks, such as 1.1.1,1.2.2")
	flags.StringSliceP("group", "g", nil, "only these groups, such as 1.1,2.2")
	flags.StringSlice("skip", nil, "checks or groups not to run")
	if command != "check" {
		flags.Duration("soak", defaultSoak, "how long restarted components are watched before their changes are kept")
	}
	if command == "fix" {
		flags.Bool("dry-run", false, "show the plan of each node, write nothing")
		flags.Bool("retry", false, "also make changes that failed on a node before")
		flags.Var(&oneOf{string(fix.RiskRestart), nodeRisks}, "max-risk", "how far fixes may go; cluster: also steps across nodes")
	}
}

// notForJobs are flags that a rollout inside the cluster does not take over.
var notForJobs = []string{"print", "plan", "kubeconfig", "output", "output-file", "verbose", "wait", "accept-findings", "restart", "started-by"}

// changed are the flags that were given, as arguments in the order of their
// names: all of which a Job takes over, or only those that are also in a set.
func changed(flags, only *pflag.FlagSet) (args []string) {
	flags.Visit(func(f *pflag.Flag) {
		if only != nil && only.Lookup(f.Name) == nil || slices.Contains(notForJobs, f.Name) {
			return
		}
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		args = append(args, "--"+f.Name+"="+value)
	})
	return args
}

func runRollout(ctx context.Context, s streams, o *rolloutOptions, command string, node, all []string) error {
	if o.timeout < time.Minute || o.wait < 0 {
		return usage("", "--node-timeout takes a minute or more, --wait no less than nothing")
	}
	if !o.plan {
		if err := rollout.CheckImage(o.image, o.allowTag); err != nil {
			return usage("hardener-image push prints the digest; --allow-tag takes an image without one", "--image: %w", err)
		}
	}
	if o.print {
		out, err := rollout.Manifests(o.image, slices.Concat([]string{"rollout", command}, all, []string{"--wait=5m", "--accept-findings"}), len(o.steps) > 0)
		if err != nil {
			return err
		}
		_, err = s.out.Write(out)
		return err
	}
	api, err := connectCluster(o.kubeconfig)
	if err != nil {
		return err
	}
	if o.plan {
		api.Patience = 0
		p, err := rollout.Preview(ctx, api, o.choice)
		if err != nil {
			return rolloutError(err)
		}
		return writePlan(s.out, p, o.steps)
	}
	var steps []rollout.Step
	for _, name := range o.steps {
		steps = append(steps, rollout.Step(name))
	}
	var once []string
	if o.by != "" {
		once = []string{"--started-by=" + o.by}
	}
	live := newProgress(s.err)
	merged, failure := rollout.Run(ctx, api, rollout.Options{
		Once:    once,
		Command: command, Args: node, Image: o.image, Choice: o.choice, Restart: o.restart, Steps: steps, Undo: command == "undo",
		Holding: rollout.Holding{Identity: identity(), Wait: o.wait}, Times: rollout.Times{Node: o.timeout},
		Tell: live.tell,
	})
	live.end()
	if merged.Rollout.ID != "" {
		if err := o.writeCluster(s, &merged); err != nil {
			return errors.Join(failure, err)
		}
	}
	if failure != nil && ctx.Err() != nil {
		return toldError{rolloutError(failure)}
	}
	if failure != nil {
		return rolloutError(failure)
	}
	if !o.accept && (merged.Totals.Fail > 0 || merged.Count(report.NodeSkipped) > 0) {
		return errFindings
	}
	return nil
}

// writeCluster writes a merged report where the flags say.
func (f *outputFlags) writeCluster(s streams, c *report.Cluster) error {
	return f.deliver(s, func(w io.Writer, style report.Style) error {
		if f.format.value == "json" {
			return c.WriteJSON(w)
		}
		return c.Text(w, style)
	})
}

func newRolloutReportCommand(s streams) *cobra.Command {
	var o rolloutOptions
	var dir string
	c := &cobra.Command{
		Use:   "report",
		Short: "Show the report of the last rollout, from what lies in the cluster",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := connectCluster(o.kubeconfig)
			if err != nil {
				return err
			}
			api.Patience = 0
			merged, err := rollout.Stored(c.Context(), api)
			if err != nil {
				return err
			}
			if dir != "" {
				if err := saveReports(c.Context(), api, dir); err != nil {
					return err
				}
			}
			return o.writeCluster(s, &merged)
		},
	}
	c.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig (default: $KUBECONFIG, ~/.kube/config, else the Job's service account)")
	c.Flags().StringVar(&dir, "nodes-dir", "", "also write the report of each node to NODE.json in this folder, which is made")
	o.outputFlags.add(c)
	return c
}

// saveReports writes what each node has reported to a folder. The name of a Node is
// one of a file, as it may have no slash (RFC 1123).
func saveReports(ctx context.Context, api *rollout.API, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write reports: %w", err)
	}
	return rollout.Reports(ctx, api, func(node string, r report.Report) error {
		var b bytes.Buffer
		if err := r.WriteJSON(&b); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(node)+".json"), b.Bytes(), 0o600); err != nil {
			return fmt.Errorf("write reports: %w", err)
		}
		return nil
	})
}

// connectCluster finds the API server as kubectl does.
func connectCluster(kubeconfig string) (*rollout.API, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, usage("--kubeconfig says which cluster", "kubeconfig: %w", err)
	}
	return rollout.Connect(config)
}

// identity is who holds the Lease, for people to read, and no two processes'.
func identity() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	user := os.Getenv("USER")
	if user == "" {
		user = fmt.Sprintf("uid%d", os.Getuid())
	}
	return fmt.Sprintf("rollout:%s@%s:%s", user, host, strings.ToLower(rand.Text()[:6]))
}

// rolloutError adds what to do about an error.
func rolloutError(err error) error {
	if errors.As(err, new(*rollout.ChoiceError)) {
		return usage("", "rollout: %w", err)
	}
	if errors.As(err, new(*rollout.UnreachedError)) {
		return fmt.Errorf("rollout: %w; --print gives what runs it from inside the cluster, where each API server can be reached", err)
	}
	return fmt.Errorf("rollout: %w", err)
}

// writePlan shows an order of nodes.
func writePlan(w io.Writer, p rollout.Plan, steps []string) error {
	var b strings.Builder
	for i, node := range p.Workers {
		how := fmt.Sprintf("up to %d at a time", p.Parallel)
		if i == 0 || p.Parallel == 1 {
			how = "alone"
		}
		fmt.Fprintf(&b, "%3d  %s  (%s)\n", i+1, node, how)
	}
	for i, node := range p.Serial {
		fmt.Fprintf(&b, "%3d  %s  (alone; the control plane whole before and after)\n", len(p.Workers)+i+1, node)
	}
	for _, s := range p.Skipped {
		fmt.Fprintf(&b, "  -  %s  (skipped: %s)\n", s.Node, oneLine(s.Reason))
	}
	for _, address := range p.EtcdOnly {
		fmt.Fprintf(&b, "  -  etcd member %s  (on no Node: out of a Job's reach)\n", address)
	}
	if len(steps) > 0 {
		fmt.Fprintf(&b, "     then in phases over all nodes: %s\n", strings.Join(steps, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
