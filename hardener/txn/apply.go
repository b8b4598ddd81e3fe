//go:build linux

package txn

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Apply makes a group of changes: looks at every path, writes and syncs backups
// and the journal, then writes. Changes of no effect are dropped. On any error
// the whole group is undone, and the error says what was restored; earlier
// groups stay and the run stays open.
//
// The errors are ErrChanged's when a path is not as Change.Expect says,
// ErrRefused's when it cannot be changed safely (a link, a file with several
// names, an immutable file, a mount point, no regular file), or the system's
// (ENOSPC, EROFS, EPERM, ...).
func (r *Run) Apply(ctx context.Context, changes []Change) error {
	if err := r.usable(); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	d := dirs{root: r.store.root}
	defer d.close()
	unchanged := func(err error) error { return fmt.Errorf("apply: %w; nothing was changed", err) }
	targets, err := d.examine(changes)
	if err != nil {
		return unchanged(err)
	}
	if len(targets) == 0 {
		return nil
	}
	if err := preflight(r.store.dir, targets); err != nil {
		return unchanged(err)
	}
	if err := ctx.Err(); err != nil {
		return unchanged(err)
	}
	first := r.journal.File == nil
	if err := r.make(); err != nil {
		return unchanged(err)
	}
	if err := r.announce(targets); err != nil {
		if first {
			err = errors.Join(err, r.unmake())
		}
		return unchanged(err)
	}
	if err := r.carryOut(ctx, &d, targets); err != nil {
		return r.takeBack(err)
	}
	return nil
}

// takeBack undoes the group that failed with cause.
func (r *Run) takeBack(cause error) error {
	out := Outcome{ID: r.id}
	if err := r.undoFrom(r.history.last().number, false, &out, nil); err != nil {
		return fmt.Errorf("apply: %w; undoing it failed too, run %s must be recovered: %w", cause, r.id, err)
	}
	what := "nothing was changed"
	if len(out.Restored) > 0 {
		what = "restored: " + strings.Join(out.Restored, ", ")
	}
	if err := out.leftError(); err != nil {
		return fmt.Errorf("apply: %w; %s; %w", cause, what, err)
	}
	return fmt.Errorf("apply: %w; %s", cause, what)
}

// announce writes the backups and the group's record. If that fails, nothing of
// the group stays.
func (r *Run) announce(targets []*target) (err error) {
	d := r.store.disk
	var made []string
	defer func() {
		if err != nil {
			for _, name := range made {
				err = errors.Join(err, d.discard(r.backup, name))
			}
		}
	}()
	rec := record{Type: recordGroup, Group: len(r.history.groups) + 1}
	number := 0
	for _, g := range r.history.groups {
		number += len(g.changes)
	}
	for _, t := range targets {
		number++
		c := change{
			Kind: t.Kind, Path: t.Path, Component: t.Component, Checks: t.Checks,
			Before: t.seen.fileState, After: t.after(),
		}
		if t.Kind != Meta {
			c.Temp = tempPrefix(path.Base(t.Path)) + random()
		}
		if t.Kind == Write && !t.seen.Absent {
			c.Backup = fmt.Sprintf("%04d", number)
			made = append(made, c.Backup)
			if err := r.save(t, c.Backup); err != nil {
				return err
			}
		}
		t.journaled = c
		rec.Changes = append(rec.Changes, c)
	}
	if len(made) > 0 {
		if err := d.syncFolder(r.backup); err != nil {
			return err
		}
	}
	return r.append(rec)
}

// save copies a file into the run's backups.
func (r *Run) save(t *target, name string) error {
	from, err := t.dir.open(t.base, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer from.Close()
	// Left over from a group that could not be announced.
	if err := r.store.disk.discard(r.backup, name); err != nil {
		return err
	}
	to, err := r.store.disk.create(r.backup, name)
	if err != nil {
		return err
	}
	defer to.Close()
	sum, err := r.store.disk.copy(to, from)
	if err != nil {
		return err
	}
	if sum != t.seen.Digest {
		return fmt.Errorf("%s: %w", t.Path, ErrChanged)
	}
	return r.store.disk.sync(to)
}
