// Package watch owns how a change to a node is noticed: from the paths that a run
// has looked at, and the processes that it found, to one settled "this has
// changed".
//
//	paths -> the directory entries that they rest on, links and parents included (entries.go)
//	      -> inotify on those directories, through github.com/fsnotify/fsnotify (watcher.go)
//	processes -> pidfds, which tell that one has ended (exits.go)
//	events -> quiet for a moment, or the longest wait (settle.go) -> Change
//
// An event is only a reason to look again. What there is to see, and what follows
// from it, is the caller's. The package only reads.
package watch
