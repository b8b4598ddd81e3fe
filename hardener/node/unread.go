package node

import (
	"io/fs"
	"slices"
	"time"
)

// clockGrain is how much later than its process a file must have been written:
// the time of a boot comes in whole seconds, cut off (proc_stat(5), btime), so that
// a process may seem to be a second older than it is.
const clockGrain = 2 * time.Second

// FindUnread notes in Component.Unread which files of its configuration each
// running component has not read, going by when they were written. It is for a
// process table that is the kernel's own and users' files beside it: the times of
// a copied tree say nothing. A clock that was set back in between makes a file
// look newer than it is; one that lies in the future proves nothing and is left out.
// A file that was replaced by one with an old date is not found.
func (f Facts) FindUnread(fsys fs.FS, procs Processes, now time.Time) error {
	boot, err := BootTime(fsys)
	if err != nil || boot == 0 {
		return err
	}
	for name, c := range f.Components {
		i := slices.IndexFunc(procs, func(p Process) bool { return c.Running && p.PID == c.PID })
		if i < 0 {
			continue
		}
		const tick = 10 * time.Millisecond
		c.Started = time.Unix(boot, 0).Add(time.Duration(procs[i].Start) * tick)
		for _, file := range c.Files() {
			if file == c.Manifest { // the kubelet reads it, and makes other processes of it
				continue
			}
			info, err := fs.Stat(fsys, Name(file))
			if err != nil {
				continue // Detect has said so
			}
			if at := info.ModTime(); at.After(c.Started.Add(clockGrain)) && !at.After(now) && !slices.Contains(c.Unread, file) {
				c.Unread = append(c.Unread, file)
			}
		}
		f.Components[name] = c
	}
	return nil
}
