package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// lostError says what of a run a person has to put right, nil when nothing.
func lostError(run string, lost []txn.Left) error {
	if len(lost) == 0 {
		return nil
	}
	var all []string
	for _, l := range lost {
		name := l.Path
		if l.Component != "" {
			name += " of " + l.Component
		}
		all = append(all, name+" ("+l.Reason+")")
	}
	return fmt.Errorf("run %s is over, but not everything could be put back; left as found, and not proven to work: %s; %s/runs/%s/backup has what there is of the old files: compare them and put right what is wrong",
		run, strings.Join(all, ", "), txn.StateDir, run)
}

// untold are the runs of which nobody has been told yet what is lost, as an error
// each. Whoever is about to stop for them says that they are told.
func untold(runs []txn.RunInfo) (ids []string, err error) {
	for _, run := range runs {
		if len(run.Lost) > 0 && !run.Told {
			ids = append(ids, run.ID)
			err = errors.Join(err, lostError(run.ID, run.Lost))
		}
	}
	return ids, err
}

// stopOnce is an error for what is lost and nobody was told yet, and takes down
// that somebody is now: a fix must not go on over files that nobody has proven and
// nobody knows of. The next one may, because they are whole, and the components
// they belong to have to be healthy before anything is restarted.
func stopOnce(store *txn.Store) error {
	runs, err := store.Runs()
	if err != nil {
		return err
	}
	ids, err := untold(runs)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w; nothing was changed, the next fix goes on", err)
	for _, id := range ids {
		err = errors.Join(err, store.Told(id))
	}
	return err
}
