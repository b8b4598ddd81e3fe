package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
)

// stepNames are the values of --steps.
func stepNames() string {
	var all []string
	for _, s := range rollout.Steps() {
		all = append(all, string(s))
	}
	return strings.Join(all, ", ")
}

// chooseSteps says which steps across nodes are meant.
func (o *rolloutOptions) chooseSteps(command string, flags *pflag.FlagSet) error {
	risk := ""
	if f := flags.Lookup("max-risk"); f != nil {
		risk = f.Value.String()
	}
	switch {
	case command == "fix" && len(o.steps) > 0 && risk != string(fix.RiskCluster) && risk != string(fix.RiskWorkload):
		return usage("", "--steps needs --max-risk cluster")
	case command == "fix" && (len(o.steps) > 0 || risk == string(fix.RiskCluster)) && !o.choice.Disruptive:
		return usage("the files of all nodes say what each step will change there, and none is", "--dry-run shows no steps: it does not go with --max-risk cluster")
	case command == "fix" && risk == string(fix.RiskCluster) && len(o.steps) == 0:
		for _, s := range rollout.Steps() {
			if s != rollout.EncryptionAtRest || o.snapshot {
				o.steps = append(o.steps, string(s))
			}
		}
	case command == "undo" && len(o.steps) == 0:
		return usage("--steps takes "+stepNames(), "--steps says what is to be undone")
	}
	for _, name := range o.steps {
		if !slices.Contains(rollout.Steps(), rollout.Step(name)) {
			return usage("--steps takes "+stepNames(), "--steps: unknown step %q", name)
		}
	}
	if slices.Contains(o.steps, string(rollout.EncryptionAtRest)) && !o.snapshot {
		return usage("etcdctl snapshot save, then store the file elsewhere", "encryption-at-rest needs a snapshot of etcd off its nodes, and you to say so: --etcd-snapshot-stored")
	}
	return nil
}
