package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

type detectOptions struct {
	hostFlags
	output oneOf
}

func newDetectCommand(s streams) *cobra.Command {
	o := detectOptions{output: oneOf{"text", []string{"text", "json"}}}
	c := &cobra.Command{
		Use:   "detect",
		Short: "Tell what was recognised on this node, with the signals",
		Long: `detect tells how Kubernetes is installed on this node: the distribution, the
node's roles, etcd, paths and running components, and for each conclusion the
signals that it rests on. It never writes.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return runDetect(s, o) },
	}
	o.hostFlags.add(c.Flags())
	c.Flags().VarP(&o.output, "output", "o", "output format")
	c.RegisterFlagCompletionFunc("output", o.output.complete)
	return c
}

func runDetect(s streams, o detectOptions) error {
	tree, err := o.open()
	if err != nil {
		return err
	}
	defer tree.Close()
	facts, err := hardener.Detect(hardener.Options{FS: tree, Picture: !tree.LiveProcesses(), Times: tree.LiveProcesses()})
	if err != nil {
		return err
	}
	if o.output.value == "json" {
		return json.NewEncoder(s.out).Encode(facts)
	}
	printFacts(s.out, facts)
	return nil
}

func printFacts(w io.Writer, f node.Facts) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-16s %s\n", name, value)
		}
	}
	line("Distribution", fmt.Sprintf("%s (%s, score %d)", f.Distribution.Name, f.Distribution.Confidence, f.Distribution.Score))
	if f.Kubespray != nil {
		line("Kubespray", releases(*f.Kubespray))
	}
	if f.Kubernetes.Version != "" {
		line("Kubernetes", fmt.Sprintf("%s (from %s)", f.Kubernetes.Version, f.Kubernetes.Source))
	}
	line("Node name", f.NodeName)
	line("Roles", strings.Join(f.Roles, ", "))
	line("etcd", f.EtcdType)
	line("Runtime", f.Runtime)
	line("Network", strings.Join(f.CNI, ", "))
	line("Manifests", f.ManifestDir)
	pki := f.PKIDir
	if f.PKILink != "" {
		pki += " (behind the link " + f.PKILink + ")"
	}
	line("Certificates", pki)
	line("etcd certs", f.EtcdCertDir)
	fmt.Fprintln(w, "\nComponents")
	for _, name := range slices.Sorted(maps.Keys(f.Components)) {
		c := f.Components[name]
		state := "not running"
		if c.Running {
			state = fmt.Sprintf("running, pid %d", c.PID)
		}
		fmt.Fprintf(w, "  %-18s %s\n", name, state)
		for _, p := range []struct{ what, path string }{
			{"manifest", c.Manifest}, {"unit", c.Unit}, {"drop-ins", strings.Join(c.DropIns, ", ")}, {"environment", strings.Join(c.EnvFiles, ", ")},
			{"config", c.Config}, {"kubeconfig", c.Kubeconfig}, {"client CA", c.CAFile}, {"data", c.DataDir}, {"image", c.Image},
		} {
			if p.path != "" {
				fmt.Fprintf(w, "    %-12s %s\n", p.what, p.path)
			}
		}
	}
	fmt.Fprintln(w, "\nSignals")
	for _, signal := range f.Signals {
		weight := ""
		if signal.Weight != 0 {
			weight = fmt.Sprintf(" (%+d)", signal.Weight)
		}
		fmt.Fprintf(w, "  %s: %s%s\n", signal.Conclusion, signal.Evidence, weight)
	}
	if len(f.Warnings) > 0 {
		fmt.Fprintln(w, "\nWarnings")
	}
	for _, warning := range f.Warnings {
		fmt.Fprintln(w, "  "+oneLine(warning))
	}
}

func releases(r node.ReleaseRange) string {
	switch {
	case r.Min == "" && r.Max == "":
		return "release unknown"
	case r.Max == "":
		return r.Min + " or later"
	case r.Min == "":
		return r.Max + " or earlier"
	case r.Min == r.Max:
		return r.Min
	}
	return r.Min + " to " + r.Max
}
