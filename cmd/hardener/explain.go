package main

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

type explainOptions struct {
	checkFlags
	outputFlags
}

func newExplainCommand(s streams) *cobra.Command {
	var o explainOptions
	c := &cobra.Command{
		Use:   "explain ID...",
		Short: "Tell what a check wants, what is here, what a fix would do and can break",
		Long: `explain tells about one check or several: what it wants, what this node has, the
diff of the fix if there is one, its risk, what it can break and what it touches
here, what must hold before, what proves it afterwards, how it is undone, and
the Kubespray variable that keeps it. Nothing is written.

Where no Kubernetes is found it explains from the profile and the catalogue, and
says that no node was looked at. docs/checks.md has all checks on one page.

Exit codes:
  0  explained
  2  bad usage, profile or input: a number that the benchmark does not have
  3  the job could not be done: unreadable host`,
		Example: `  hardener explain 1.2.1
  hardener explain 1.2.16 1.2.17 --output json
  hardener explain 4.2.6 --benchmark cis-1.24 --root /mnt/node`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(c.CommandPath()+" 1.2.1 explains that check; hardener check lists those that do not pass", "%s needs the number of a check", c.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
			return o.complete(given, begun), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		},
		RunE: func(c *cobra.Command, ids []string) error { return runExplain(c.Context(), s, o, ids) },
	}
	o.checkFlags.addNode(c.Flags())
	o.outputFlags.add(c)
	return c
}

func runExplain(ctx context.Context, s streams, o explainOptions, ids []string) error {
	options, tree, err := o.options()
	if err != nil {
		return err
	}
	defer tree.Close()
	e, err := hardener.Explain(ctx, options, ids)
	if err != nil {
		return err
	}
	return o.deliver(s, func(w io.Writer, style report.Style) error {
		if o.format.value == "json" {
			return e.WriteJSON(w)
		}
		return e.WriteText(w, style)
	})
}

// complete offers the checks of the benchmark that are not given yet and go on
// as begun, with their titles. Whatever goes wrong, the shell is offered nothing.
func (o *explainOptions) complete(given []string, begun string) []string {
	options, tree, err := o.options()
	if err != nil {
		return nil
	}
	defer tree.Close()
	names, err := hardener.CheckNames(options)
	if err != nil {
		return nil
	}
	var offers []string
	for _, n := range names {
		if strings.HasPrefix(n.ID, begun) && !slices.Contains(given, n.ID) {
			offers = append(offers, cobra.CompletionWithDesc(n.ID, n.Text))
		}
	}
	return offers
}
