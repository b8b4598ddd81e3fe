package main

import (
	"encoding/json"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// made is what the runs that still stand changed on a node, by the settings of their
// reports. A report takes over what was in force before it, so that nothing is
// forgotten when old runs are removed. What cannot be read is left out: it tells less
// of what is in force, and hinders no check.
func made(tree *host.FS) map[string]bool {
	runs, err := txn.List(tree)
	if err != nil {
		return nil
	}
	settings := map[string]bool{}
	for _, run := range runs {
		if run.State != txn.Committed {
			continue
		}
		data, err := txn.Report(tree, run.ID)
		if err != nil || data == nil {
			continue
		}
		var r struct { // the little of a report that is needed: there may be many
			Controls []struct {
				Tests []struct {
					Results []struct {
						Fix *struct {
							State    fix.State `json:"state"`
							Settings []string  `json:"settings"`
						} `json:"fix"`
					} `json:"results"`
				} `json:"tests"`
			}
		}
		if err := json.Unmarshal(data, &r); err != nil {
			continue
		}
		for _, section := range r.Controls {
			for _, group := range section.Tests {
				for _, result := range group.Results {
					if result.Fix == nil || result.Fix.State != fix.Applied && result.Fix.State != fix.InForce {
						continue
					}
					for _, s := range result.Fix.Settings {
						settings[s] = true
					}
				}
			}
		}
	}
	return settings
}
