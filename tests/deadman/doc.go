// Package deadman tests on real systemd what needs no Kubernetes: that package
// systemd hears and is heard, and that the dead-man switch puts files back when
// the process that changed them dies, hangs, or loses its machine. Its nodes
// boot in seconds. The tests have the build tag e2e.
package deadman
