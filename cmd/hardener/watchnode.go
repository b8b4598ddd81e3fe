package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/drift"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/origin"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/watch"
)

// watchedNode is what a watch does with a live node and its cluster.
type watchedNode struct {
	s       streams
	o       *watchOptions
	tree    *host.FS
	options hardener.Options // of each look, with the tree bare
	hasRead func(node.Component, string) bool
	say     func(string)
	watcher *watch.Watcher
	witness *origin.Witness // nil where the kernel does not say who writes
	unseen  string          // what was said of what it does not see
	shrink  *shrinker
	glimpse glimpse

	benchmark string // of the last look at everything
	targets   []string
	name      string

	api *rollout.API // nil without a cluster
}

// versionLasts is for how long the API server's version is taken to be the same.
const versionLasts = 10 * time.Minute

func newWatchedNode(s streams, o *watchOptions, tree *host.FS, options hardener.Options, watcher *watch.Watcher, say func(string)) *watchedNode {
	n := &watchedNode{s: s, o: o, tree: tree, say: say, watcher: watcher, shrink: newShrinker(), name: o.nodeName}
	if o.kubeconfig == "" { // the account of the DaemonSet may read nothing of the cluster, see reportTo.limit
		options.Commands = withoutCluster
	}
	options.ServerVersion = remembered(options.ServerVersion)
	options.HasRead = func(c node.Component, file string) bool { return n.hasRead(c, file) }
	n.options = options
	config, err := o.connect()
	if err == nil {
		n.api, err = rollout.Connect(config)
	}
	if err != nil {
		say("without a cluster, so that no Events are sent: " + err.Error())
	}
	watcher.Begins = n.begins
	if n.witness, err = origin.NewWitness(); err != nil {
		say("the kernel does not say who writes here, so that less is known of who did something: " + err.Error())
		n.witness = nil
	}
	return n
}

func (n *watchedNode) close() {
	if n.witness != nil {
		n.witness.Close()
	}
	n.shrink.stop()
}

// remembered asks for a version no more often than versionLasts, and gives the last
// one while nobody answers.
func remembered(ask func(context.Context) (string, error)) func(context.Context) (string, error) {
	var mu sync.Mutex
	var version string
	var asked time.Time
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if !asked.IsZero() && time.Since(asked) < versionLasts {
			if version == "" {
				return "", errors.New("not asked again yet")
			}
			return version, nil
		}
		asked = time.Now()
		now, err := ask(ctx)
		if err != nil && version == "" {
			return "", err
		}
		if err == nil {
			version = now
		}
		return version, nil
	}
}

// Look is drift.Node's.
func (n *watchedNode) Look(ctx context.Context, checks []string) (hardener.Observation, []string, error) {
	defer n.shrink.soon()
	o := n.options
	recording := host.Record(n.tree)
	o.FS, o.Checks = recording, checks
	if checks != nil { // the layout is known, and no version has to be asked for
		o.Benchmark, o.KubernetesVersion, o.Targets = n.benchmark, "", n.targets
	}
	seen, err := hardener.Observe(ctx, o)
	if checks == nil && seen.Checks != nil {
		n.benchmark, n.targets = seen.Report.Node.Benchmark, seen.Report.Node.Targets
		if n.o.nodeName == "" {
			n.name = seen.Report.Node.Name
		}
		if n.witness != nil {
			if err := n.witness.Watch(n.watcher.Directories()); err != nil && err.Error() != n.unseen {
				n.unseen = err.Error()
				n.say("the kernel does not say everywhere who writes, so that less is known of who did something: " + n.unseen)
			}
		}
	}
	return seen, recording.Paths(), err
}

// Processes is drift.Node's.
func (n *watchedNode) Processes() (node.Processes, error) { return node.ReadProcesses(n.tree) }

// glimpse is who was at work on the node when the last burst of changes began. A
// module of Ansible ends some milliseconds after it has changed a file, which is before
// a burst has settled.
type glimpse struct {
	mu  sync.Mutex
	who string
	at  time.Time
}

// glimpseLasts is how long a glimpse counts: a burst, the look after it, and the time
// until what was seen is told.
const glimpseLasts = settleLongest + time.Second

// begins is called when a burst of changes does.
func (n *watchedNode) begins() {
	procs, err := n.Processes()
	if err != nil {
		return // the look says so
	}
	if who := n.atWork(procs); who != "" {
		n.glimpse.mu.Lock()
		n.glimpse.who, n.glimpse.at = who, time.Now()
		n.glimpse.mu.Unlock()
	}
}

// Installers is drift.Node's.
func (n *watchedNode) Installers(procs node.Processes) string {
	if who := n.atWork(procs); who != "" {
		return who
	}
	n.glimpse.mu.Lock()
	defer n.glimpse.mu.Unlock()
	if time.Since(n.glimpse.at) < glimpseLasts {
		return n.glimpse.who
	}
	return ""
}

// atWork names the installers in a process table, other than this program.
func (n *watchedNode) atWork(procs node.Processes) string {
	self := os.Getpid()
	var names []string
	for _, i := range origin.Installers(n.tree, procs) {
		if i.PID != self && !slices.Contains(names, i.Name) {
			names = append(names, i.Name)
		}
	}
	return strings.Join(names, ", ")
}

// Digest is drift.Node's.
func (n *watchedNode) Digest(file string) (string, error) {
	data, err := n.tree.ReadFile(node.Name(file))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// Run is drift.Node's.
func (n *watchedNode) Run() (id string, underWay bool, r *report.Report, err error) {
	runs, err := txn.List(n.tree)
	if err != nil || len(runs) == 0 {
		return "", false, nil, err
	}
	newest := runs[len(runs)-1]
	id = newest.ID + " " + string(newest.State)
	switch newest.State {
	case txn.Unfinished, txn.RollingBack:
		return id, true, nil, nil
	case txn.Committed:
		data, err := txn.Report(n.tree, newest.ID)
		if err != nil || data == nil {
			return id, false, nil, err
		}
		done, err := report.Decode(strings.NewReader(string(data)))
		if err != nil {
			return id, false, nil, err
		}
		return id, false, &done, nil
	}
	return id, false, nil, nil
}

// Repair is drift.Node's: hardener fix for some checks, at a risk.
func (n *watchedNode) Repair(ctx context.Context, keys []string, risk fix.Risk) (r report.Report, err error) {
	options := n.options
	options.FS = n.tree
	f := hardener.FixOptions{MaxRisk: risk, Only: keys, Say: n.say}
	live, err := makeReady(ctx, n.o.hostFlags, n.tree, options, n.o.soak, &f)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	if risk == fix.RiskFiles {
		// A verdict of no other check can come to rest on a mode.
		options.Benchmark, options.KubernetesVersion, options.Targets = n.benchmark, "", n.targets
		for _, key := range keys {
			_, id, _ := strings.Cut(key, "/")
			options.Checks = append(options.Checks, id)
		}
	} else {
		leased, release, err := n.lease(ctx)
		if err != nil {
			return r, err
		}
		defer release()
		ctx = leased
		if err := persist(n.tree); err != nil {
			n.say("whether this program would survive a power cut now is not known: " + oneLine(err.Error()))
		}
	}
	var done func()
	f.Store, done = storeOnce(ctx, n.s, n.tree)
	defer done()
	fixed, err := hardener.Fix(ctx, options, f)
	return fixed.After, err
}

// leaseWait is how long a repair waits for the Lease. One that gets none is tried
// again.
const leaseWait = 10 * time.Second

// lease takes the Lease that keeps two nodes from restarting something at once.
func (n *watchedNode) lease(ctx context.Context) (leased context.Context, release func(), err error) {
	if n.api == nil {
		return nil, nil, errors.New("not without a cluster, whose Lease keeps two nodes from acting at once")
	}
	n.api.Patience = 30 * time.Second
	leased, lease, err := rollout.Acquire(ctx, n.api, rollout.Holding{
		Identity: "watch:" + n.name, Wait: leaseWait,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("not now: %w", err)
	}
	return leased, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := lease.Release(ctx); err != nil {
			n.say("the Lease was not given back, and expires by itself: " + oneLine(err.Error()))
		}
	}, nil
}

// eventTime is how long sending an Event may take.
const eventTime = 10 * time.Second

// Tell is drift.Node's.
func (n *watchedNode) Tell(ctx context.Context, l drift.Letter) error {
	if n.api == nil {
		return nil // said when the watch began
	}
	ctx, cancel := context.WithTimeout(ctx, eventTime)
	defer cancel()
	// kubectl describe node also shows Events whose UID is the Node's name, as the
	// kubelet's is (k8s.io/kubectl/pkg/describe, NodeDescriber): nobody has to read
	// the Node.
	about := corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: n.name, UID: types.UID(n.name)}
	return n.api.Announce(ctx, l.Name, l.Event, about, "watch:"+n.name, l.At)
}

// Refused is drift.Node's.
func (n *watchedNode) Refused(err error) bool { return rollout.Refused(err) }

// Save is drift.Node's.
func (n *watchedNode) Save(data []byte) error { return txn.SaveMemory(n.tree, data) }

// Origin is drift.Node's. Of files that changed together the first stands for all.
func (n *watchedNode) Origin(files []string, procs node.Processes) string {
	if len(files) == 0 {
		return ""
	}
	users, err := node.ReadUsers(n.tree)
	if err != nil {
		n.say(oneLine(err.Error()))
	}
	actor, _ := n.witness.Seen(filepath.Join(n.tree.Dir(), files[0]))
	return origin.Of(n.tree, origin.Asked{File: files[0], Now: time.Now(), Processes: procs, Users: users, Actor: actor}).String()
}
