// Package drift owns what a watcher concludes: which checks of a node are worse
// than they were, whether that is told, repaired or left alone, and what is
// remembered of it, so that a watcher that was killed goes on where it was.
//
//	a change (package watch) or the slow timer
//	  -> look: the checks that rest on it, then all (package hardener)
//	  -> compare with what was good (compare.go)
//	  -> an installer at work? hold fire, then look once (hold.go)
//	  -> repair, unless somebody undoes it again and again (repair.go)
//	  -> tell: Events in order, kept until the API server has them (courier.go)
//
// It decides and does nothing itself: how a node is looked at, repaired, and the
// cluster told, is handed in.
package drift
