// Command labctl brings a lab up and down and runs commands in its nodes: what
// make lab and make lab-down call, and what a person at the bench uses.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/component"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command().ExecuteContext(ctx)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "labctl: error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "labctl",
		Short:         "Bring up a Kubespray-shaped cluster on this machine, for tests",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	var o lab.Options
	var topology string
	root.PersistentFlags().StringVar(&o.Name, "name", "lab", "name of the lab; several can be up side by side")

	up := &cobra.Command{
		Use:   "up",
		Short: "Build what is missing and bring a lab up",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Topology = lab.Topology(topology)
			if _, err := lab.Up(cmd.Context(), o, os.Stderr); err != nil {
				return err
			}
			fmt.Printf("lab %s is up; try: go run ./tests/labctl --name %s exec cp1 -- kubectl get pods -A\n", o.Name, o.Name)
			return nil
		},
	}
	up.Flags().StringVar(&topology, "topology", string(lab.Small), "small (1 control plane, 1 worker) or ha (3 control planes, 1 etcd host, 1 worker)")
	up.Flags().StringVar(&o.Kubernetes, "kubernetes", component.Kubernetes[0], "version: "+strings.Join(component.Kubernetes, ", "))

	down := &cobra.Command{
		Use:   "down",
		Short: "End a lab and leave nothing of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := lab.Open(o.Name, os.Stderr)
			if errors.Is(err, machine.ErrNotUp) {
				fmt.Printf("lab %s is not up\n", o.Name)
				return lab.Sweep(o.Name)
			}
			if err != nil {
				return err
			}
			return c.Down(cmd.Context())
		},
	}

	status := &cobra.Command{
		Use:   "status",
		Short: "Tell which nodes of a lab are on",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := lab.Open(o.Name, os.Stderr)
			if err != nil {
				return err
			}
			fmt.Printf("lab %s: %s, Kubernetes %s\n", c.Name, c.Topology, c.Kubernetes)
			for _, n := range c.Nodes() {
				state := "off"
				if n.Running() {
					state = "on"
				}
				fmt.Printf("%-10s %s\n", n.Name, state)
			}
			return nil
		},
	}

	run := &cobra.Command{
		Use:   "exec NODE [-- COMMAND...]",
		Short: "Run a command in a node; without one, a login shell",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := lab.Open(o.Name, os.Stderr)
			if err != nil {
				return err
			}
			node := c.Node(args[0])
			if node == nil {
				return fmt.Errorf("lab %s has no node %s", o.Name, args[0])
			}
			if len(args) == 1 {
				args = append(args, "bash", "--login")
			}
			inside := node.Command(cmd.Context(), args[1], args[2:]...)
			inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
			return inside.Run()
		},
	}

	restore := &cobra.Command{
		Use:   "restore",
		Short: "Put all nodes back to how they were when the lab came up",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := lab.Open(o.Name, os.Stderr)
			if err != nil {
				return err
			}
			return c.Restore(cmd.Context())
		},
	}
	inventory := &cobra.Command{
		Use:   "inventory",
		Short: "Print the lab's Ansible inventory",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := lab.Open(o.Name, os.Stderr)
			if err != nil {
				return err
			}
			text, err := c.Inventory()
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(text)
			return err
		},
	}

	network := &cobra.Command{
		Use:   "net -- COMMAND...",
		Short: "Run a command of this machine in the lab's network: ssh, ansible",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := lab.Open(o.Name, os.Stderr)
			if err != nil {
				return err
			}
			inside := c.Command(cmd.Context(), args[0], args[1:]...)
			inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
			return inside.Run()
		},
	}
	root.AddCommand(up, down, status, run, restore, inventory, network)
	return root
}
