package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/drift"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/metrics"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/watch"
)

// nodeNameVariable says on which Node a pod of the DaemonSet runs.
const nodeNameVariable = "NODE_NAME"

type watchOptions struct {
	checkFlags
	nodeName string
	repair   oneOf
	interval time.Duration
	hold     time.Duration
	soak     time.Duration
	rounds   int
	metrics  string
	log      oneOf
	image    string
	allowTag bool
	print    bool
}

// Times of a watch that are no matter of taste.
const (
	// A burst is over after settleQuiet, and not waited for any longer than
	// settleLongest: most changes are one rename, and a verdict is to be there within
	// 100 ms.
	settleQuiet   = 15 * time.Millisecond
	settleLongest = 500 * time.Millisecond
	// A repair of every component takes no longer than this, and nothing is looked at
	// meanwhile.
	repairTime = 2 * time.Hour
	// What is not worse any more after this was a file being replaced.
	confirmTime = 300 * time.Millisecond
)

// Garbage of a look is collected only when it is several times what stays, so that
// the look is not held up: its memory is given back soon afterwards. Beyond
// watchMemory, in bytes, it is collected the more eagerly.
const (
	watchGarbage = 400 // percent, as GOGC
	watchMemory  = 20 << 20
)

func newWatchCommand(s streams) *cobra.Command {
	o := watchOptions{repair: oneOf{"none", []string{"none", string(fix.RiskFiles), string(fix.RiskRestart)}}, log: oneOf{"text", []string{"text", "json"}}}
	c := &cobra.Command{
		Use:   "watch",
		Short: "Stay, and see at once when this node gets worse than it was",
		Long: `watch checks this node, and again whenever a file that the checks rest on or a
process of a component changes. A check that is worse than it was is drift: it is
told as an Event on the Node that names the file, the setting before and after, and
who did it as far as that can be known; in a log line; and as a metric.

What was good is what the last hardener fix left, or what was first seen. A rollback
or another fix is no drift. While Ansible, kubeadm, a package manager or a renewal of
certificates is at work on the node, watch holds its fire and looks once when it is
done (--hold).

--repair says what is put back, through the same transaction, gates and dead-man
switch as by hardener fix:

  none     nothing; only reads
  files    modes and owners
  restart  also what a component has to be restarted for. It takes the Lease of
           rollouts, so that no two nodes act at once.

What somebody undoes again and again is not fought over: after a few rounds within an
hour (--rounds) it is told as a conflict and left alone for an hour, then for longer.

What is known of the node lies below ` + txn.StateDir + `/watch, so that what
changed while watch did not run is told afterwards.

--print gives the manifests of a DaemonSet that runs this on every node.

Exit codes:
  0  told to stop
  2  bad usage, profile or input
  3  the node could not be looked at, or not be written to for --repair`,
		Example: `  hardener watch --image registry.local/hardener@sha256:... --print | kubectl apply -f -
  hardener watch --repair files --metrics-address 127.0.0.1:9808`,
		Args: noArguments,
	}
	all, flags := c.Flags(), pflag.NewFlagSet("watch", pflag.ContinueOnError) // flags: those that a DaemonSet takes over
	c.RunE = func(c *cobra.Command, _ []string) error { return runWatch(c.Context(), s, &o, changed(all, flags)) }
	o.hostFlags.add(all)
	o.addBenchmark(flags)
	all.StringVar(&o.nodeName, "node-name", os.Getenv(nodeNameVariable), "the Node that Events are about (default: $"+nodeNameVariable+", else what the kubelet says)")
	all.StringVar(&o.image, "image", "", "with --print: the image of the DaemonSet, pinned by its digest")
	all.BoolVar(&o.allowTag, "allow-tag", false, "with --print: take an image without a digest, such as one imported from an archive")
	all.BoolVar(&o.print, "print", false, "only print the manifests of a DaemonSet that runs this on every node")
	flags.StringSliceVarP(&o.targets, "targets", "s", nil, "sections to watch (default: by the roles of the node)")
	flags.StringSliceVar(&o.skip, "skip", nil, "checks or groups not to watch")
	flags.Var(&o.repair, "repair", "what is put back")
	flags.DurationVar(&o.interval, "interval", 10*time.Minute, "how often everything is looked at without any change")
	flags.DurationVar(&o.hold, "hold", time.Minute, "how long after the last sign of an installer it is taken to be done")
	flags.DurationVar(&o.soak, "soak", defaultSoak, "how long restarted components are watched before a repair is kept")
	flags.IntVar(&o.rounds, "rounds", 3, "how many repairs within an hour may be undone before a check is left alone for a while")
	flags.StringVar(&o.metrics, "metrics-address", "", "where /metrics, /healthz and /readyz are served, such as :9808 (default: nowhere)")
	flags.Var(&o.log, "log", "form of the log on standard error")
	all.AddFlagSet(flags)
	c.RegisterFlagCompletionFunc("repair", o.repair.complete)
	c.RegisterFlagCompletionFunc("log", o.log.complete)
	return c
}

func runWatch(ctx context.Context, s streams, o *watchOptions, args []string) error {
	if o.interval < time.Second || o.hold < 0 || o.soak < 0 || o.rounds < 1 {
		return usage("", "--interval takes a second or more, --rounds one or more, --hold and --soak no less than nothing")
	}
	if o.print {
		return printWatch(s, o, args)
	}
	if o.image != "" || o.allowTag {
		return usage("", "--image and --allow-tag go with --print")
	}
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(watchGarbage)
		debug.SetMemoryLimit(watchMemory)
	}
	options, tree, err := o.options()
	if err != nil {
		return err
	}
	defer tree.Close()
	if !tree.LiveProcesses() {
		return usage("hardener check looks at a copy once", "watch is for a live node: %s has no process table of a kernel", tree.Dir())
	}
	log := newLog(s, o.log.value)
	say := func(line string) { log.Info(oneLine(line)) }
	risk := fix.Risk("")
	if o.repair.value != "none" {
		risk = fix.Risk(o.repair.value)
	}

	memory, err := txn.LoadMemory(tree)
	if err != nil {
		say("what was known of this node cannot be read, and is begun anew: " + err.Error())
	}
	if risk != "" && memory == nil {
		memory = []byte{}
	}
	if risk != "" { // now, not when something has to be repaired
		if err := txn.SaveMemory(tree, memory); err != nil {
			return fmt.Errorf("watch: --repair %s: %w", o.repair.value, err)
		}
	}
	watcher := watch.New(tree, watch.Times{Quiet: settleQuiet, Longest: settleLongest})
	defer watcher.Close()
	n := newWatchedNode(s, o, tree, options, watcher, say)
	defer n.close()
	gauge := &watchGauge{metrics: metrics.New(version, o.repair.value, o.interval), watcher: watcher}
	loop := drift.New(n, watcher, gauge, memory, drift.Options{
		Repair: risk, Interval: o.interval, Quiet: o.hold, Confirm: confirmTime, Rounds: o.rounds, Say: say, Now: time.Now,
	})
	n.hasRead = loop.HasRead
	if o.metrics != "" {
		stop, err := serveMetrics(o.metrics, gauge, 3*o.interval+repairTime, say)
		if err != nil {
			return err
		}
		defer stop()
	}
	say(fmt.Sprintf("hardener %s watches %s, repairs: %s", version, tree.Dir(), o.repair.value))
	if err := loop.Run(ctx); err != nil {
		return err
	}
	say("told to stop")
	return nil
}

func printWatch(s streams, o *watchOptions, args []string) error {
	if err := rollout.CheckImage(o.image, o.allowTag); err != nil {
		return usage("hardener-image push prints the digest; --allow-tag takes an image without one", "--image: %w", err)
	}
	out, err := rollout.WatchManifests(o.image, append([]string{"watch"}, args...), o.repair.value)
	if err != nil {
		return err
	}
	_, err = s.out.Write(out)
	return err
}

func newLog(s streams, format string) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(s.err)
	if format == "json" {
		log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano})
	} else {
		log.SetFormatter(&logrus.TextFormatter{TimestampFormat: time.RFC3339, FullTimestamp: true, DisableColors: true})
	}
	return log
}

// serveMetrics serves what a watcher measures, and whether it lives: it does when
// it has looked at the node within stale.
func serveMetrics(address string, g *watchGauge, stale time.Duration, say func(string)) (stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, usage("", "--metrics-address: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", g.metrics.Handler())
	probe := func(ok func() bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if !ok() {
				http.Error(w, "not yet, or not for too long", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "ok")
		}
	}
	started := time.Now()
	looked := func() time.Time { return time.Unix(0, g.looked.Load()) }
	mux.HandleFunc("/readyz", probe(func() bool { return g.looked.Load() != 0 }))
	mux.HandleFunc("/healthz", probe(func() bool {
		last := looked()
		if last.Before(started) {
			last = started
		}
		return time.Since(last) < stale
	}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			say("metrics are not served any more: " + err.Error())
		}
	}()
	return func() { server.Close() }, nil
}
