package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

type reportOptions struct {
	outputFlags
	merge   bool
	failed  []string
	reached []string
	failOn  string
}

func newReportCommand(s streams) *cobra.Command {
	var o reportOptions
	c := &cobra.Command{
		Use:   "report [NAME=]FILE...",
		Short: "Show stored reports again, or merge those of many nodes into one",
		Long: `report reads JSON reports that check, fix and rollout wrote, and shows them: one
report of a node as it is, several, or that of a rollout, as one report on all
nodes. A node is named by NAME=FILE, or else by its report, or else by its file.

A report of a rollout may be merged with those of nodes that the rollout did not
reach. Together with the reports of all its nodes (hardener rollout report
--nodes-dir) theirs count. Of two reports on one section of a node the later one
counts.

--fail-on says from what on findings are too many, for exit code 1:

  never    findings are no failure
  unfixed  a check fails for which a fix was to be made
  fail     a check fails
  warn     a check fails or needs a person
  N        more than N verdicts of FAIL, over all nodes
` + exitHelp,
		Example: `  hardener report node1.json
  hardener report --merge --output json cluster.json etcd1=etcd1.json
  hardener report --merge --failed 'node3=unreachable' --fail-on unfixed *.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("hardener check --output json writes one", "which report?")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return runReport(s, &o, args) },
	}
	c.Flags().BoolVar(&o.merge, "merge", false, "one report on all nodes, also of a single one")
	c.Flags().StringArrayVar(&o.failed, "failed", nil, "NODE=REASON: this node could not be done")
	c.Flags().StringSliceVar(&o.reached, "reached", nil, "addresses of etcd members whose hosts are among the reports, of which a rollout says that it could not reach them")
	c.Flags().StringVar(&o.failOn, "fail-on", "fail", "from what on findings are too many: "+strings.Join(report.Thresholds(), ", ")+" or a number")
	o.outputFlags.add(c)
	return c
}

func runReport(s streams, o *reportOptions, files []string) error {
	threshold, err := report.ParseThreshold(o.failOn)
	if err != nil {
		return usage("", "--fail-on: %w", err)
	}
	var rollouts []report.Cluster
	var names []string
	nodes := map[string]report.Report{}
	for _, arg := range files {
		given, file := namedFile(arg)
		b, err := os.ReadFile(file)
		if err != nil {
			return usage("", "report: %w", err)
		}
		if part, ok, err := report.DecodeCluster(b); err != nil {
			return usage("", "report: %s: %w", file, err)
		} else if ok {
			rollouts = append(rollouts, part)
			continue
		}
		one, err := report.Decode(bytes.NewReader(b))
		if err != nil {
			return usage("", "report: %s: %w", file, err)
		}
		name := cmp.Or(given, one.Node.Name, strings.TrimSuffix(filepath.Base(file), ".json"))
		if known, ok := nodes[name]; ok {
			one = known.WithSections(one)
		} else {
			names = append(names, name)
		}
		nodes[name] = one
	}
	all, err := mergeReports(rollouts, names, nodes)
	if err != nil {
		return usage("hardener rollout report --nodes-dir writes those of all nodes", "report: %w", err)
	}
	for _, text := range o.failed {
		node, why, ok := strings.Cut(text, "=")
		if !ok || node == "" || why == "" {
			return usage("", "--failed: %q is not NODE=REASON", text)
		}
		all.Fail(node, why)
	}
	all.Reach(o.reached...)
	all.Sort()
	if len(files) == 1 && len(rollouts) == 0 && !o.merge && len(o.failed) == 0 {
		err = o.write(s, nodes[names[0]])
	} else {
		err = o.writeCluster(s, &all)
	}
	return errors.Join(err, exceeded(&all, threshold, s))
}

// namedFile parts NAME=FILE; a name is none that could be a path.
func namedFile(arg string) (name, file string) {
	name, file, ok := strings.Cut(arg, "=")
	if !ok || strings.ContainsRune(name, '/') {
		return "", arg
	}
	return name, file
}

// mergeReports makes one report of those of rollouts and of nodes. What a rollout's
// says of its nodes cannot be told apart, so that the reports of all of them count
// instead, or of none.
func mergeReports(rollouts []report.Cluster, names []string, nodes map[string]report.Report) (all report.Cluster, err error) {
	for _, part := range rollouts {
		bare, reported := part.Bare()
		missing := slices.DeleteFunc(slices.Clone(reported), func(name string) bool { _, ok := nodes[name]; return ok })
		switch {
		case len(missing) == 0:
			part = bare
		case len(missing) < len(reported):
			return all, fmt.Errorf("rollout %s: the reports of some of its nodes are there, but none of %s", part.Rollout.ID, strings.Join(missing, ", "))
		}
		if err := all.Merge(part); err != nil {
			return all, err
		}
	}
	for _, name := range names {
		one := nodes[name]
		all.Put(name, &one)
		all.Rollout.Command = cmp.Or(all.Rollout.Command, one.Run.Command, "check")
	}
	return all, nil
}

// exceeded is an error when a report has too many findings.
func exceeded(c *report.Cluster, t report.Threshold, s streams) error {
	why, too := c.Exceeded(t)
	if !too {
		return nil
	}
	fmt.Fprintln(s.err, "hardener: "+why)
	return errFindings
}
