package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/kubectl"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
)

// reportTo is how check and fix tell a rollout, whose Job they run in, how they
// fared.
type reportTo struct {
	to       string
	handover string // what the command has for the next node, see rollout.Outcome

	account  func() (*rest.Config, error) // the Job's
	patience time.Duration                // for an API server that is away
	last     time.Duration                // that too when told to stop
}

func newReportTo() reportTo {
	return reportTo{account: rest.InClusterConfig, patience: 10 * time.Minute, last: time.Minute}
}

func (f *reportTo) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.to, "report-to", "", "in a rollout's Job: also write the report to configmap/NAMESPACE/NAME, with the Job's account; findings are no failure then")
}

// run runs a command and delivers its outcome. What the command did to the node
// stands, whether or not the outcome arrives; but that it did not is an error,
// as the rollout must not go on without knowing.
func (f *reportTo) run(ctx context.Context, s streams, output *outputFlags, command func() error) error {
	if f.to == "" {
		return command()
	}
	to, err := rollout.ParseDestination(f.to)
	if err != nil {
		return usage("", "--report-to: %w", err)
	}
	failure := command()
	code, line := exitStatus(failure)
	undelivered := f.deliver(ctx, to, rollout.Outcome{Exit: code, Error: line, Report: output.written, Handover: f.handover})
	if errors.Is(failure, errFindings) {
		failure = nil
	}
	if failure != nil && undelivered != nil { // the exit code is that of the failure
		fmt.Fprintln(s.err, "hardener: "+oneLine(undelivered.Error()))
		return failure
	}
	return errors.Join(failure, undelivered)
}

// limit keeps the audits of a Job from the cluster: its account may read nothing
// there, and what is refused must not be taken for what is not there. They stay
// with a person, as without a kubeconfig.
func (f *reportTo) limit(options *hardener.Options, kubeconfig string) {
	if f.to == "" || kubeconfig != "" {
		return
	}
	options.Commands = withoutCluster
}

// withoutCluster are the commands of audits that may ask no API server.
func withoutCluster() map[string]shell.Command {
	none := func() (*rest.Config, error) { return nil, kubectl.ErrNoServer }
	return map[string]shell.Command{"kubectl": kubectl.Command(none)}
}

func (f *reportTo) deliver(ctx context.Context, to rollout.Destination, o rollout.Outcome) error {
	config, err := f.account()
	if err != nil {
		return fmt.Errorf("deliver report: %w", err)
	}
	api, err := rollout.Connect(config)
	if err != nil {
		return fmt.Errorf("deliver report: %w", err)
	}
	limit := f.patience
	if ctx.Err() != nil {
		limit = f.last
	}
	api.Patience = limit
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit+time.Minute)
	defer cancel()
	return rollout.Deliver(ctx, api, to, o)
}

// exitStatus is the exit code of an error, and the line that says why.
func exitStatus(err error) (code int, line string) {
	switch {
	case err == nil:
		return exitOK, ""
	case errors.Is(err, errFindings):
		return exitFindings, ""
	case errors.As(err, new(usageError)), isInput(err):
		return exitInput, oneLine(err.Error())
	}
	return exitFailed, oneLine(err.Error())
}
