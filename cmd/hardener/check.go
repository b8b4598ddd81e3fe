package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
)

type checkOptions struct {
	checkFlags
	outputFlags
	reportTo reportTo
}

func newCheckCommand(s streams) *cobra.Command {
	o := checkOptions{reportTo: newReportTo()}
	c := &cobra.Command{
		Use:   "check",
		Short: "Check this node against the CIS benchmark; never writes",
		Long: `check evaluates the CIS Kubernetes benchmark on this node with kube-bench's
profiles, in process: nothing is forked and nothing is written.

By default each verdict is true for the layout that was found, and where it
differs from kube-bench's it says why, with the evidence. --raw gives
kube-bench's own verdicts, and its JSON and text to the letter.
` + exitHelp,
		Example: `  hardener check
  hardener check --output json --targets master,etcd
  hardener check --root /mnt/node --benchmark cis-1.12 --raw`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.reportTo.run(c.Context(), s, &o.outputFlags, func() error { return runCheck(c.Context(), s, &o) })
		},
	}
	o.checkFlags.add(c.Flags())
	c.Flags().BoolVar(&o.raw, "raw", false, "kube-bench's own verdicts, without regard to the layout")
	o.outputFlags.add(c)
	o.reportTo.add(c.Flags())
	return c
}

func runCheck(ctx context.Context, s streams, o *checkOptions) error {
	options, tree, err := o.options()
	if err != nil {
		return err
	}
	defer tree.Close()
	o.reportTo.limit(&options, o.kubeconfig)
	r, failure := hardener.Check(ctx, options)
	if failure != nil && r.Controls == nil { // it did not get as far as a report
		return failure
	}
	if o.raw && r.Node.BenchmarkNote != "" { // kube-bench's output has no place for it
		fmt.Fprintln(s.err, "hardener: note: "+r.Node.BenchmarkNote)
	}
	if err := o.write(s, r); err != nil || failure != nil {
		return errors.Join(failure, err)
	}
	if r.Failing() {
		return errFindings
	}
	return nil
}
