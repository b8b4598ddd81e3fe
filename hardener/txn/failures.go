//go:build linux

package txn

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// Failure is a set of changes that was tried on this node and taken back because
// the node did not stay healthy. Whoever plans changes leaves those with the same
// digest alone.
type Failure struct {
	Digest    string    `json:"digest"` // of the changes and what they rest on
	Component string    `json:"component"`
	Reason    string    `json:"reason"`
	Time      time.Time `json:"time"`
}

const failuresName = "failures.json"

// keepFailures is how many are remembered, the newest.
const keepFailures = 50

// Failures lists what failed on a node, oldest first. A node without a state
// directory has none.
func Failures(root *host.FS) ([]Failure, error) {
	b, err := load(root, StateDir+"/"+failuresName)
	if err != nil {
		return nil, fmt.Errorf("failed changes: %w", err)
	}
	if b == nil {
		return nil, nil
	}
	var all []Failure
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("failed changes: %s/%s: %w", StateDir, failuresName, err)
	}
	return all, nil
}

// Remember adds a failure, in place of an earlier one with its digest. Its time
// is now.
func (s *Store) Remember(f Failure) error {
	all, err := Failures(s.root)
	if err != nil {
		all = nil // cannot be read: the file is replaced
	}
	var rest []Failure
	for _, old := range all {
		if old.Digest != f.Digest {
			rest = append(rest, old)
		}
	}
	f.Time = s.now().UTC().Truncate(time.Second)
	rest = append(rest, f)
	return s.saveFailures(rest[max(0, len(rest)-keepFailures):])
}

func (s *Store) saveFailures(all []Failure) error {
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("failed changes: %w", err)
	}
	if err := s.disk.save(s.dir, failuresName, append(b, '\n')); err != nil {
		return fmt.Errorf("failed changes: %w", err)
	}
	return nil
}
