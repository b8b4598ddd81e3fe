package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
		Use:   "report FILE...",
		Short: "Show stored reports again, or merge those of many nodes into one",
		Long: `report reads JSON reports that check, fix and rollout wrote, and shows them: one
report of a node as it is, several, or that of a rollout, as one report on all
nodes. A node is named by its report, or else by its file.

A report of a rollout may be merged with those of nodes that the rollout did not
reach, and with further sections of nodes that it did.

--fail-on says from what on findings are too many, for exit code 1:

  never    findings are no failure
  unfixed  a check fails for which a fix was to be made
  fail     a check fails
  warn     a check fails or needs a person
  N        more than N verdicts of FAIL, over all nodes
` + exitHelp,
		Example: `  hardener report node1.json
  hardener report --merge --output json cluster.json etcd1.json
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
	var all report.Cluster
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return usage("", "report: %w", err)
		}
		part, ok, err := report.DecodeCluster(b)
		if err != nil {
			return usage("", "report: %s: %w", file, err)
		}
		if ok {
			if err := all.Merge(part); err != nil {
				return usage("", "report: %s: %w", file, err)
			}
			o.merge = true
			continue
		}
		one, err := report.Decode(bytes.NewReader(b))
		if err != nil {
			return usage("", "report: %s: %w", file, err)
		}
		name := cmp.Or(one.Node.Name, strings.TrimSuffix(filepath.Base(file), ".json"))
		if err := all.AddPart(name, &one); err != nil {
			return usage("", "report: %s: %w", file, err)
		}
		all.Rollout.Command = cmp.Or(all.Rollout.Command, one.Run.Command, "check")
		if len(files) == 1 && !o.merge && len(o.failed) == 0 {
			return errors.Join(o.write(s, one), exceeded(&all, threshold, s))
		}
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
	return errors.Join(o.writeCluster(s, &all), exceeded(&all, threshold, s))
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
