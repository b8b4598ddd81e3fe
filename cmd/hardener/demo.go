package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

type demoOptions struct {
	outputFlags
	keep string
}

func newDemoCommand(s streams) *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "Check, fix and check again an embedded sample node",
		Long: `demo unpacks a sample node into a folder of its own and runs the whole job on
it: the findings that kube-bench has on a control-plane node of a Kubespray
cluster of 2020 with etcd in docker, the fixes, and what is left and why. It
needs no root and touches nothing else.

No component of the sample runs. Its process table is written from its
manifests, units and environment files, before and after the fix.
`,
		Example: `  hardener demo
  hardener demo --keep ./node
  hardener demo --output json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), s, o) },
	}
	o.outputFlags.add(c)
	c.Flags().StringVar(&o.keep, "keep", "", "leave the sample node, fixed, in this folder, which must be new or empty")
	return c
}

// demoReports is the JSON of the demo.
type demoReports struct {
	Before report.Report `json:"before"` // kube-bench's verdicts
	After  report.Report `json:"after"`  // of the fix
	Again  report.Report `json:"again"`  // of a second fix, which has nothing to do
}

func runDemo(ctx context.Context, s streams, o demoOptions) (err error) {
	dir := o.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "hardener-demo-"); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	reports, err := demonstrate(ctx, dir)
	if errors.Is(err, sample.ErrNotEmpty) {
		return usage("name a folder that does not exist yet", "demo: --keep: %w", err)
	}
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return o.deliver(s, func(w io.Writer, style report.Style) error {
		if o.format.value == "json" {
			return json.NewEncoder(w).Encode(reports)
		}
		return printDemo(w, style, reports, o.keep)
	})
}

// demonstrate writes the sample node to dir, checks it, and fixes it twice.
func demonstrate(ctx context.Context, dir string) (reports demoReports, err error) {
	if err := sample.Write(dir); err != nil {
		return reports, err
	}
	if err := sample.RenderProcesses(dir); err != nil {
		return reports, err
	}
	flags := checkFlags{hostFlags: hostFlags{root: dir}, benchmark: sample.Benchmark, targets: []string{"master", "etcd", "controlplane", "node", "policies"}}
	options, tree, err := flags.options()
	if err != nil {
		return reports, err
	}
	defer tree.Close()
	owners, err := sample.OpenOwners(dir)
	if err != nil {
		return reports, err
	}
	options.Commands, options.ServerVersion = nil, nil // the sample has no API server
	options.FS = owners.View(tree)

	asSeen := options
	asSeen.AsKubeBench = true
	if reports.Before, err = hardener.Check(ctx, asSeen); err != nil {
		return reports, err
	}
	if reports.After, err = demoFix(ctx, dir, options, tree, owners); err != nil {
		return reports, err
	}
	reports.Before.Run.Notes = append(reports.Before.Run.Notes, articleNotes()...)
	reports.After = reports.After.WithBefore(reports.Before)
	reports.Again, err = demoFix(ctx, dir, options, tree, owners)
	return reports, err
}

func demoFix(ctx context.Context, dir string, options hardener.Options, tree *host.FS, owners *sample.Owners) (r report.Report, err error) {
	store, err := txn.Open(tree)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	f := hardener.FixOptions{
		MaxRisk: fix.RiskRestart,
		Store:   func() (*txn.Store, error) { return store, nil },
		Gate:    demoGate{dir},
		// Nothing runs on a tree, so there is nothing to bring back.
		DeadMan: func(*txn.Store, string) hardener.DeadMan {
			return func(context.Context, time.Duration) (func(context.Context) error, error) {
				return func(context.Context) error { return nil }, nil
			}
		},
	}
	if owners.Recorded() {
		f.OnDisk = func(c txn.Change) (txn.Change, error) {
			err := owners.Chown(c.Path, c.UID, c.GID)
			c.UID, c.GID = os.Getuid(), os.Getgid()
			c.Expect.UID, c.Expect.GID = c.UID, c.GID
			return c, err
		}
	}
	fixed, err := hardener.Fix(ctx, options, f)
	return fixed.After, err
}

// demoGate draws the processes anew that a real node would have restarted.
type demoGate struct{ dir string }

func (g demoGate) Fit(context.Context, []string) error { return nil }

func (g demoGate) Before(context.Context, string) (func(context.Context) error, error) {
	return func(context.Context) error { return sample.RenderProcesses(g.dir) }, nil
}

func (g demoGate) Soak(context.Context, []string) error { return nil }

// articleNotes say where the published list of findings that the sample node
// stands for differs from what kube-bench says of it today.
func articleNotes() []string {
	var notes []string
	for _, row := range sample.Article() {
		if row.Printed && row.Verdict != row.Outcome {
			notes = append(notes, fmt.Sprintf("%s: published as %s: %s", row.ID, row.Outcome, row.Note))
		}
	}
	return notes
}

func printDemo(w io.Writer, style report.Style, r demoReports, keep string) error {
	title := func(text string) { fmt.Fprintf(w, "\n=== %s ===\n\n", text) }
	title("1. The sample node as kube-bench sees it")
	brief := style
	brief.Brief = !style.Verbose
	if err := r.Before.Text(w, brief); err != nil {
		return err
	}
	style.NoHint = true // its hint is for a node that stays
	title("2. hardener fix")
	if err := r.After.Text(w, style); err != nil {
		return err
	}
	title("3. hardener fix, once more")
	fmt.Fprintf(w, "%d changes: a second run finds nothing to write.\n", len(r.Again.Run.Changes))
	if keep != "" {
		fmt.Fprintf(w, "\nThe node is in %s. Try:\n  hardener check --root %s --benchmark %s\n  hardener rollback --root %s\n", keep, keep, sample.Benchmark, keep)
	}
	return nil
}
