package lab

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/component"
)

// needed are the labs that the tests of this process have asked for. They are
// tied to the process: however it ends, they end with it.
var needed struct {
	sync.Mutex
	clusters map[Topology]*Cluster
}

// Version is the Kubernetes version that tests run on: LAB_KUBERNETES, or the
// newest that the lab builds.
func Version() string {
	if v := os.Getenv("LAB_KUBERNETES"); v != "" {
		return v
	}
	return component.Kubernetes[0]
}

// name is that of a topology's lab: e2e and the topology, or LAB_NAME and the
// topology, for tests that run beside others.
func name(topology Topology) string {
	prefix := os.Getenv("LAB_NAME")
	if prefix == "" {
		prefix = "e2e"
	}
	return prefix + string(topology)
}

// Need returns a cluster of a topology, every pod ready, as a first run of
// Kubespray leaves it. The first test that asks brings it up. A test that changes
// it says so with Spoil, before it does; the next one that asks then gets it
// restored, as after a test that failed. TestMain calls Close.
func Need(t testing.TB, topology Topology) *Cluster {
	t.Helper()
	needed.Lock()
	defer needed.Unlock()
	ctx := context.Background() // a lab outlives the test that asked first
	c := needed.clusters[topology]
	if c == nil {
		var err error
		if c, err = Up(ctx, Options{Name: name(topology), Topology: topology, Kubernetes: Version(), Tied: true}, os.Stderr); err != nil {
			t.Fatal(err)
		}
		if needed.clusters == nil {
			needed.clusters = map[Topology]*Cluster{}
		}
		needed.clusters[topology] = c
	}
	if c.spoilt {
		stage := stages(c.log)
		if err := c.Restore(ctx); err != nil {
			t.Fatal(err)
		}
		stage("restore " + string(topology))
		c.spoilt = false
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.Spoil()
		}
	})
	return c
}

// Spoil says that the cluster is about to be changed.
func (c *Cluster) Spoil() { c.spoilt = true }

// Close ends the labs that tests have asked for and returns their names.
func Close() (names []string, err error) {
	needed.Lock()
	defer needed.Unlock()
	var errs []error
	for _, c := range needed.clusters {
		names = append(names, c.Name)
		errs = append(errs, c.Down(context.Background()))
	}
	needed.clusters = nil
	return names, errors.Join(errs...)
}
