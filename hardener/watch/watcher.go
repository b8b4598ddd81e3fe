//go:build linux

package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// Times say how patient a Watcher is.
type Times struct {
	Quiet   time.Duration // without another event, for a burst to be over
	Longest time.Duration // that an event waits for the end of its burst
}

// Change is what a Watcher has noticed, settled.
type Change struct {
	Files map[string][]string // what has changed, as it lies in the tree, with the followed paths that rest on it
	Ended []int               // followed processes that have ended
	Lost  bool                // events were lost, or are too many to tell apart: anything may have changed
	Since time.Time           // of the first event
}

// maxFiles is how many changed files are told apart. Beyond that it is quicker to
// look at everything.
const maxFiles = 1024

// Watcher notices changes to a node. Its methods are for one goroutine.
type Watcher struct {
	// Begins, when set before the first Follow, is called at the first event of a burst,
	// long before Wait tells of it: whoever has made the change is still there. Events
	// are not read meanwhile.
	Begins func()

	tree   *host.FS
	times  Times
	notify *fsnotify.Watcher
	exits  exits
	wake   chan struct{} // there is something in pending

	watched map[string]inode // directories, as they lie in the tree, when they were added

	mu      sync.Mutex
	rests   map[entry][]string  // followed paths by what they rest on
	same    map[string][]string // of a watched directory, the others that are the very same
	settle  settler
	pending map[string][]string // see Change.Files
	ended   []int
	lost    bool
	disturb func() // ends what Undisturbed gave last
}

// LimitError says that the kernel's limits of inotify keep some directories from
// being watched. Changes to them are only found by looking.
type LimitError struct {
	Sysctl string // the one to raise
	Dirs   int    // that are not watched, 0 for all
	Err    error
}

func (e *LimitError) Error() string {
	what := "no directory can be watched"
	if e.Dirs > 0 {
		what = fmt.Sprintf("%d directories cannot be watched", e.Dirs)
	}
	return fmt.Sprintf("%s: %v: raise the sysctl %s", what, e.Err, e.Sysctl)
}

func (e *LimitError) Unwrap() error { return e.Err }

// limit names the sysctl behind an error of inotify, "" for none (inotify(7)). In a
// user namespace user.max_inotify_instances and user.max_inotify_watches count as
// well, but a watcher of a node is in the first one, where both are the same.
func limit(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return "fs.inotify.max_user_instances"
	case errors.Is(err, syscall.ENOSPC):
		return "fs.inotify.max_user_watches"
	}
	return ""
}

// New makes a Watcher of a tree.
func New(tree *host.FS, times Times) *Watcher {
	w := &Watcher{
		tree: tree, times: times, wake: make(chan struct{}, 1),
		watched: map[string]inode{}, settle: settler{quiet: times.Quiet, longest: times.Longest},
		pending: map[string][]string{},
	}
	w.exits = exits{ended: w.exited, open: map[int]*os.File{}}
	return w
}

// open gets an inotify instance, unless there is one. The error is a *LimitError
// when the kernel gives out no more.
func (w *Watcher) open() error {
	if w.notify != nil {
		return nil
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		if sysctl := limit(err); sysctl != "" {
			return &LimitError{Sysctl: sysctl, Err: err}
		}
		return fmt.Errorf("watch: %w", err)
	}
	w.notify = notify
	go w.receive(notify)
	return nil
}

// Close ends the watch.
func (w *Watcher) Close() error {
	w.exits.close()
	if w.notify == nil {
		return nil
	}
	return w.notify.Close()
}

// Follow sets the absolute paths that count from now on. It reports whether a
// directory is watched now that was not before: what changed there after it was
// looked at has not been noticed, so that the caller looks once more. All other
// directories are watched when some cannot be; the error is a *LimitError where the
// kernel's limits are why.
func (w *Watcher) Follow(paths []string) (grown bool, err error) {
	if err := w.open(); err != nil {
		return false, err
	}
	rests := map[entry][]string{}
	dirs := map[string]inode{}
	tree := looker{w.tree, map[string]kind{}}
	for _, p := range paths {
		for _, e := range entriesOf(tree, p) {
			if pseudo(e.dir) {
				continue
			}
			dirs[e.dir] = tree.look(e.dir).inode
			if who := rests[e]; len(who) == 0 || who[len(who)-1] != p { // links may lead by there twice
				rests[e] = append(who, p)
			}
		}
	}
	w.mu.Lock()
	w.rests = rests
	w.mu.Unlock()
	return w.watch(dirs)
}

// Refresh watches the directories that are followed once more: another may lie
// where one did. What changes from now on is noticed, so that the caller looks
// afterwards.
func (w *Watcher) Refresh() {
	if w.notify == nil {
		return
	}
	dirs := map[string]inode{}
	tree := looker{w.tree, map[string]kind{}}
	for dir := range w.watched {
		if there := tree.look(dir); there.dir {
			dirs[dir] = there.inode
		}
	}
	_, _ = w.watch(dirs) // what cannot be watched is Follow's to say
}

// watch watches these directories and no others. It reports whether one is watched
// now that was not before.
func (w *Watcher) watch(dirs map[string]inode) (grown bool, err error) {
	// All that have gone go first. fsnotify knows watches by their paths, and the kernel
	// by their inodes: adding a path where another directory lies now would leave the
	// old one watched for good, and adding a directory that has moved would give the
	// watch at its old path, and removing that one end both.
	gone := map[inode]bool{}
	for dir, was := range w.watched {
		if now, wanted := dirs[dir]; !wanted || now != was {
			gone[was] = true
			w.unwatch(dir)
		}
	}
	for dir, was := range w.watched { // a bind mount has shared the watch
		if gone[was] {
			w.unwatch(dir)
		}
	}

	// Two paths of one directory get one watch, and its events one of the paths.
	at := map[inode][]string{}
	for dir, is := range dirs {
		at[is] = append(at[is], dir)
	}
	same := map[string][]string{}
	for _, all := range at {
		for i, dir := range all {
			if others := slices.Delete(slices.Clone(all), i, i+1); len(others) > 0 {
				same[dir] = others
			}
		}
	}
	w.mu.Lock()
	w.same = same
	w.mu.Unlock()

	var first error
	short := &LimitError{}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		// Also those that are watched: fsnotify gives up a directory that was moved away,
		// even if it was moved back, and to add a watch again changes nothing.
		err := w.notify.Add(w.machine(dir))
		if err == nil {
			_, before := w.watched[dir]
			grown = grown || !before
			w.watched[dir] = dirs[dir]
			continue
		}
		w.unwatch(dir)
		switch {
		case missing(err), errors.Is(err, syscall.ENOTDIR):
			grown = true // it was there a moment ago
		case limit(err) != "":
			short.Sysctl, short.Err = limit(err), err
			short.Dirs++
		case first == nil:
			first = fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	if short.Dirs > 0 {
		return grown, errors.Join(short, first)
	}
	return grown, first
}

func (w *Watcher) unwatch(dir string) {
	_ = w.notify.Remove(w.machine(dir)) // it may be gone by itself
	delete(w.watched, dir)
}

// Directories are the directories that are watched, as they lie on this machine,
// sorted.
func (w *Watcher) Directories() []string {
	var all []string
	for dir := range w.watched {
		all = append(all, w.machine(dir))
	}
	slices.Sort(all)
	return all
}

// FollowProcesses sets the processes whose end counts from now on. An error says
// that they cannot be followed on this machine.
func (w *Watcher) FollowProcesses(pids []int) error { return w.exits.follow(pids) }

// machine is where a directory of the tree lies on this machine.
func (w *Watcher) machine(dir string) string { return filepath.Join(w.tree.Dir(), dir) }

// receive takes events as they come, so that the kernel's queue does not fill.
func (w *Watcher) receive(notify *fsnotify.Watcher) {
	for {
		select {
		case event, ok := <-notify.Events:
			if !ok {
				return
			}
			w.noted(event)
		case err, ok := <-notify.Errors:
			if !ok {
				return
			}
			if errors.Is(err, syscall.EINVAL) {
				continue // a directory was moved away and removed, which has an event of its own
			}
			w.mu.Lock() // fsnotify.ErrEventOverflow, or events that cannot be read: look at everything
			w.lost = true
			w.happens()
			w.mu.Unlock()
			w.poke()
		}
	}
}

// happens takes down that something has happened. The caller holds the lock.
func (w *Watcher) happens() {
	w.settle.event(time.Now())
	if w.disturb != nil {
		w.disturb()
	}
}

// exited takes down that a process has ended.
func (w *Watcher) exited(pid int) {
	w.mu.Lock()
	w.ended = append(w.ended, pid)
	w.happens()
	w.mu.Unlock()
	w.poke()
}

// noted takes down an event on a directory or on an entry of it, if anything
// rests on that.
func (w *Watcher) noted(event fsnotify.Event) {
	p, ok := strings.CutPrefix(event.Name, w.tree.Dir())
	if !ok {
		return
	}
	w.mu.Lock()
	noted := false
	for _, p := range w.names(path.Join("/", p)) {
		rests := w.rests[entry{path.Dir(p), path.Base(p)}]
		if any := w.rests[entry{path.Dir(p), anyName}]; len(any) > 0 {
			rests = slices.Concat(rests, any)
			slices.Sort(rests)
			rests = slices.Compact(rests)
		}
		if len(rests) == 0 {
			continue
		}
		noted = true
		if _, known := w.pending[p]; known || len(w.pending) < maxFiles {
			w.pending[p] = rests
		} else {
			w.lost = true
		}
	}
	begins := noted && w.settle.first.IsZero()
	if noted {
		w.happens()
	}
	w.mu.Unlock()
	if begins && w.Begins != nil {
		w.Begins()
	}
	if noted {
		w.poke()
	}
}

// names are all names of what an event is about. The caller holds the lock.
func (w *Watcher) names(p string) []string {
	all := append([]string{p}, w.same[p]...)
	for _, dir := range w.same[path.Dir(p)] {
		all = append(all, path.Join(dir, path.Base(p)))
	}
	return all
}

func (w *Watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Wait waits for a change and for its burst to settle. It returns without one,
// and false, when limit has passed; the error is the context's.
func (w *Watcher) Wait(ctx context.Context, limit time.Duration) (Change, bool, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	end := time.Now().Add(limit)
	for {
		w.mu.Lock()
		left, waiting := w.settle.wait(time.Now())
		if waiting && left == 0 {
			c := w.take()
			w.mu.Unlock()
			return c, true, nil
		}
		w.mu.Unlock()
		if !waiting {
			left = time.Until(end)
		}
		timer.Reset(max(0, left))
		select {
		case <-ctx.Done():
			return Change{}, false, ctx.Err()
		case <-w.wake:
		case <-timer.C:
			if !waiting {
				return Change{}, false, nil
			}
		}
	}
}

// Pending are the files of a change that Wait has yet to tell, see Change.Files.
// Whoever looks at the node meanwhile may have seen what became of them.
func (w *Watcher) Pending() map[string][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.pending)
}

// Undisturbed is a context that ends as soon as there is a change that Wait has yet
// to tell: for a long look at the node, whose end the change would wait for.
func (w *Watcher) Undisturbed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.disturb = stop; !w.settle.first.IsZero() {
		stop()
	}
	return ctx, stop
}

// take is all that is pending. The caller holds the lock.
func (w *Watcher) take() Change {
	c := Change{Files: w.pending, Ended: w.ended, Lost: w.lost, Since: w.settle.first}
	w.pending, w.ended, w.lost = map[string][]string{}, nil, false
	w.settle.reset()
	return c
}
