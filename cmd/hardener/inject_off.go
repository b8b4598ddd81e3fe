//go:build !faults

package main

import "github.com/kubespray-hardener/kubespray-hardener/hardener/txn"

// injection is nil: only a program built for the fault tests makes mistakes, see
// inject.go.
func injection() func(txn.Change) (txn.Change, error) { return nil }
