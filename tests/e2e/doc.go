// Package e2e tries the product on a live cluster: package lab's, with real
// components. Its tests carry the build tag e2e and need root; make e2e runs
// them. It owns what is claimed of a live node, and leaves to package lab how
// one comes to be.
package e2e
