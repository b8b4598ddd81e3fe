package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/cmd/hardener/ansible"
	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/inventory"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

type varsOptions struct {
	checkFlags
	kubespray string
	inventory string
	verify    string
	planned   bool
	output    oneOf
	file      string
}

func newVarsCommand(s streams) *cobra.Command {
	o := varsOptions{output: oneOf{"yaml", []string{"yaml", "json"}}}
	c := &cobra.Command{
		Use:   "vars [REPORT...]",
		Short: "Write the Kubespray variables that keep what was fixed",
		Long: `vars tells which Kubespray variables, with which values, keep what was fixed on
the nodes through Kubespray's next runs: one commented file for
group_vars/k8s_cluster. REPORT is the JSON of check, of fix, or of a rollout for
all nodes at once; - is standard input. Without one this node is checked. Nothing
is written but the file, and no secret into it.

What a variable keeps differs from release to release. The release is taken from
the nodes; where they only tell a range in which it is not the same, --kubespray
has to say which.

--inventory adds what the inventory has in the same lists and dictionaries.
--verify writes nothing and tells which variables an inventory lacks, sets
otherwise, or sets in a file that another one beats. Both run ansible-inventory.

Exit codes:
  0  written, or with --verify nothing is amiss
  1  --verify: a variable is missing, contradicted, shadowed or set twice
  2  bad usage or input
  3  the job could not be done: unreadable host, no ansible-inventory`,
		Example: `  hardener vars --output-file inventory/mycluster/group_vars/k8s_cluster/zz-hardening.yml
  hardener rollout report --output json | hardener vars - --kubespray 2.28 --inventory inventory/mycluster
  hardener vars check.json --planned
  hardener vars --verify inventory/mycluster`,
		RunE: func(c *cobra.Command, reports []string) error { return runVars(c.Context(), s, &o, reports) },
	}
	o.checkFlags.add(c.Flags())
	c.Flags().StringVar(&o.kubespray, "kubespray", "", "release of Kubespray, such as 2.28 (default: what the nodes tell)")
	c.RegisterFlagCompletionFunc("kubespray", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return node.Releases(), cobra.ShellCompDirectiveNoFileComp
	})
	c.Flags().StringVar(&o.inventory, "inventory", "", "merge with what this inventory sets, a file or a directory")
	c.Flags().StringVar(&o.verify, "verify", "", "write nothing: tell what this inventory lacks")
	c.Flags().BoolVar(&o.planned, "planned", false, "also for what fix would change")
	c.Flags().VarP(&o.output, "output", "o", "output format")
	c.RegisterFlagCompletionFunc("output", o.output.complete)
	c.Flags().StringVar(&o.file, "output-file", "", "write to this file, unless it is the same already")
	return c
}

func runVars(ctx context.Context, s streams, o *varsOptions, reports []string) error {
	if o.inventory != "" && o.verify != "" {
		return usage("--verify tells what an inventory lacks, --inventory is for what is written", "--inventory and --verify exclude each other")
	}
	seen, err := o.seen(ctx, s, reports)
	if err != nil {
		return err
	}
	plan, err := seen.plan(o.kubespray)
	if err != nil {
		return err
	}
	if o.verify != "" {
		return o.verifyInventory(ctx, s, plan)
	}
	if o.inventory != "" {
		known, err := readInventory(ctx, o.inventory)
		if err != nil {
			return err
		}
		if plan, err = inventory.Merge(plan, known); err != nil {
			return usage("", "vars: %w", err)
		}
	}
	return o.write(s, func(w io.Writer) error {
		if o.output.value == "json" {
			return plan.WriteJSON(w)
		}
		return plan.WriteYAML(w)
	})
}

// nodesSeen is what reports tell of the nodes of a cluster.
type nodesSeen struct {
	fixes    []inventory.Fix
	releases []node.ReleaseRange
}

// seen reads the reports, or checks this node.
func (o *varsOptions) seen(ctx context.Context, s streams, reports []string) (seen nodesSeen, err error) {
	if len(reports) == 0 {
		options, tree, err := o.options()
		if err != nil {
			return seen, err
		}
		defer tree.Close()
		r, err := hardener.Check(ctx, options)
		if err != nil {
			return seen, err
		}
		return seen, seen.add(r, o.planned)
	}
	for _, name := range reports {
		var data []byte
		if name == "-" {
			data, err = io.ReadAll(s.in)
		} else {
			data, err = os.ReadFile(name)
		}
		if err != nil {
			return seen, usage("", "read report: %w", err)
		}
		if c, ok, err := report.DecodeCluster(data); err != nil {
			return seen, usage("", "%s: %w", name, err)
		} else if ok {
			seen.addCluster(c, o.planned)
			continue
		}
		r, err := report.Decode(bytes.NewReader(data))
		if err == nil {
			err = seen.add(r, o.planned)
		}
		if err != nil {
			return seen, usage("REPORT is the JSON of hardener check, fix or rollout", "%s: %w", name, err)
		}
	}
	return seen, nil
}

func (n *nodesSeen) add(r report.Report, planned bool) error {
	if r.Run.Mode != report.Adjudicated {
		return errors.New("a report of kube-bench's verdicts (--raw) does not say what keeps them")
	}
	if r.Layout.Kubespray == nil {
		return fmt.Errorf("%s was not installed by Kubespray, whose variables these are", r.Node.Name)
	}
	n.releases = append(n.releases, *r.Layout.Kubespray)
	for _, res := range r.Results() {
		if res.Fix != nil {
			n.fix(res.ID, []string{r.Node.Name}, *res.Fix, planned, r.Run.Command == "check")
		}
	}
	return nil
}

func (n *nodesSeen) addCluster(c report.Cluster, planned bool) {
	for _, one := range c.Nodes {
		if one.Kubespray != nil {
			n.releases = append(n.releases, *one.Kubespray)
		}
	}
	for _, kept := range c.Kept {
		n.fix(kept.ID, kept.Nodes, kept.Fix, planned, c.Rollout.Command == "check")
	}
}

// fix takes over a decision that is in force or, where wanted, planned. A check plans
// for every risk; what a fix does without being asked for more is up to restart.
func (n *nodesSeen) fix(id string, nodes []string, d fix.Decision, planned, check bool) {
	plan := planned && d.State == fix.Planned && (!check || d.Risk == fix.RiskFiles || d.Risk == fix.RiskRestart)
	if len(d.Settings) > 0 && (plan || d.State == fix.InForce || d.State == fix.Applied) {
		n.fixes = append(n.fixes, inventory.Fix{Check: id, Nodes: nodes, Decision: d})
	}
}

// plan is what keeps the fixes, in a release or in what the nodes have in common.
func (n *nodesSeen) plan(release string) (inventory.Plan, error) {
	const hint = "--kubespray 2.28 says which release the cluster has"
	var r node.ReleaseRange
	var err error
	switch {
	case release != "":
		if r, err = node.ParseRelease(release); err != nil {
			return inventory.Plan{}, usage("", "--kubespray: %w", err)
		}
	case len(n.releases) == 0:
		return inventory.Plan{}, usage(hint, "no report tells the release of Kubespray")
	default:
		for _, other := range n.releases {
			was := r
			var ok bool
			if r, ok = r.And(other); !ok {
				return inventory.Plan{}, usage(hint, "the nodes tell of different releases of Kubespray: %s and %s", was, other)
			}
		}
	}
	plan, err := inventory.Needs(n.fixes, r)
	if errors.As(err, new(*inventory.ReleaseError)) {
		return plan, usage(hint, "vars: %w", err)
	}
	return plan, err
}

func readInventory(ctx context.Context, path string) (inventory.Inventory, error) {
	data, err := ansible.Inventory(ctx, path, inventory.Groups)
	if errors.Is(err, os.ErrNotExist) {
		return inventory.Inventory{}, usage("", "%w", err)
	}
	if err != nil {
		return inventory.Inventory{}, err
	}
	known, err := inventory.Read(data)
	if err != nil {
		return known, usage("it has to be an inventory of Kubespray", "%s: %w", path, err)
	}
	return known, nil
}

func (o *varsOptions) verifyInventory(ctx context.Context, s streams, plan inventory.Plan) error {
	known, err := readInventory(ctx, o.verify)
	if err != nil {
		return err
	}
	dir := o.verify
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		dir = filepath.Dir(dir)
	}
	problems := inventory.Verify(plan, known, inventory.Sources(os.DirFS(dir)))
	err = o.write(s, func(w io.Writer) error {
		if o.output.value == "json" {
			return json.NewEncoder(w).Encode(slices.Concat([]inventory.Problem{}, problems))
		}
		return inventory.WriteProblems(w, problems)
	})
	if err == nil && len(problems) > 0 {
		return errFindings
	}
	return err
}

// write writes to standard output or to --output-file, which is left alone when it is
// the same already: its time says when something changed.
func (o *varsOptions) write(s streams, render func(io.Writer) error) error {
	if o.file == "" {
		return render(s.out)
	}
	var b bytes.Buffer
	if err := render(&b); err != nil {
		return err
	}
	if old, err := os.ReadFile(o.file); err == nil && bytes.Equal(old, b.Bytes()) {
		return nil
	}
	if err := os.WriteFile(o.file, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write variables: %w", err)
	}
	return nil
}
