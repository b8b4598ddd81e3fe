package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newRootCommand(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "hardener",
		Short: "Check a Kubernetes node against the CIS benchmark, fix what fails, check again",
		Long: `hardener checks a Kubernetes node against the CIS benchmark with kube-bench's
own profiles, fixes what fails without leaving the node broken, and checks
again. It knows the layout that Kubespray leaves on a node.
` + exitHelp,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("hardener --help lists the commands", "unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetVersionTemplate("hardener {{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if errors.As(err, new(usageError)) {
			return err
		}
		return usage(c.CommandPath()+" --help lists the flags", "%w", err)
	})
	root.AddCommand(
		newCheckCommand(s),
		newFixCommand(s),
		newRollbackCommand(s),
		newRolloutCommand(s),
		newReportCommand(s),
		newWatchCommand(s),
		newDetectCommand(s),
		newExplainCommand(s),
		newVarsCommand(s),
		newDemoCommand(s),
		newRecoverCommand(s),
	)
	return root
}

// noArguments refuses positional arguments with a usage error.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(c.CommandPath()+" --help lists the flags", "%s takes no arguments: %q", c.CommandPath(), args[0])
	}
	return nil
}
