// Package rollout has the tests of rollouts against a real API server without
// nodes: Leases, rights, Jobs and reports, with build tag e2e. What a node does in
// its Job is played by the tests; rollouts on real nodes are in package e2e.
package rollout
