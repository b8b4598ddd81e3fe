// Package txn owns every write to a node: it replaces files and sets modes and
// owners so that a crash at any moment, a full disk or a failed proof leaves
// each file whole and either as it was or as it was to become, and so that what
// was done can be undone later.
//
// A run is a sequence of groups, one per component. For each group Apply looks
// at every path, saves what it is going to replace, records what it is going to
// do, and only then does it; each of these is durable before the next begins.
// Undo, Recover after a crash, and Rollback of a committed run are the same
// work: the journal says what a path was and what it was to become, a path that
// is as it was to become is put back, and one that is neither belongs to
// somebody else and is left alone.
//
// A path whose backup is damaged or missing is left as it is as well, whole, with
// the run's content, and is Lost: nothing that comes later can put it back, so that
// the run ends and is not tried again for ever. Everything else is put back, in its
// group too, because each file that is put back is one that had worked; but what
// the group made stays, for the file that is left may name it. A newer group's path
// that is Lost is put back from an older group's backup, if that is undone as well.
// Any other error may go away: it is tried again until somebody gives the run up.
//
// On the node, below StateDir, which only its owner may enter:
//
//	lock                   held while a Store is open; says by whom
//	failures.json          changes that were tried and taken back, see Failure
//	runs/ID/journal        what the run announced and did, never a file's content
//	runs/ID/backup/0001    files as they were, byte for byte, mode 0600
//	runs/ID/report.json    what SaveReport was given
//	runs/ID/told           a person knows what of it is Lost
//	hardener, armed        what Place put there, see Companions
//
// A file is replaced by renaming a temporary file in the same directory, whose
// name begins with a dot, because the kubelet takes anything else in a manifest
// directory for a pod; nothing else is ever put beside a node's files.
//
// The package leaves to others which changes are made and why (package fix),
// whether the node works with them (package gate), and how paths resolve inside
// the node's root (package host).
package txn
