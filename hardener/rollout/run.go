package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// Run carries a rollout out. The report is as complete as it can be, also beside
// an error, once there is a plan.
func Run(ctx context.Context, api *API, o Options) (report.Cluster, error) {
	o.fill()
	// A mistake in the choice is told before anything is written.
	if err := checkSteps(o); err != nil {
		return report.Cluster{}, &ChoiceError{err}
	}
	if _, _, err := api.plan(ctx, o.Choice); err != nil {
		return report.Cluster{}, err
	}
	if err := api.install(ctx, len(o.Steps) > 0); err != nil {
		return report.Cluster{}, err
	}
	held, lease, err := Acquire(ctx, api, o.Holding)
	if err != nil {
		return report.Cluster{}, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
		defer cancel()
		if err := lease.Release(ctx); err != nil {
			o.Tell(Progress{State: Note, Text: "not given back, it expires: " + err.Error()})
		}
	}()
	r := &rollout{api: api, o: o, followed: make(chan struct{}, maxFollowed)}
	if err := r.open(ctx); err != nil {
		return report.Cluster{}, err
	}
	return r.run(ctx, held)
}

// Preview is the plan that a rollout would follow now. Nothing is written.
func Preview(ctx context.Context, api *API, choice Choice) (Plan, error) {
	p, _, err := api.plan(ctx, choice)
	return p, err
}

func (a *API) plan(ctx context.Context, choice Choice) (Plan, inventory, error) {
	c, uids, err := a.look(ctx)
	if err != nil {
		return Plan{}, inventory{}, err
	}
	p, err := NewPlan(c, choice)
	if err != nil {
		return Plan{}, inventory{}, &ChoiceError{err}
	}
	in := inventory{uids: uids, ready: map[string]bool{}, cluster: c}
	for _, n := range c.Nodes {
		in.ready[n.Name] = n.Ready
	}
	return p, in, nil
}

// inventory is what a rollout remembers of the cluster as it began.
type inventory struct {
	uids    map[string]string
	ready   map[string]bool // nodes that were Ready
	servers []string        // addresses of the API servers
	cluster Cluster
}

// rollout is one that is under way.
type rollout struct {
	api   *API
	o     Options
	state state
	in    inventory
	done  map[string]bool // nodes that an earlier process was done with

	followed chan struct{} // places for nodes whose programs are followed

	mu     sync.Mutex // of what follows, and of Tell
	merged report.Cluster
	behind int
	total  int
	failed error
	why    map[string]string // nodes that failed
	handed map[string]string // what control planes have handed over, by node
}

// open decides what is to be done and takes it down.
func (r *rollout) open(ctx context.Context) error {
	p, in, err := r.api.plan(ctx, r.o.Choice)
	if err != nil {
		return err
	}
	if r.o.Choice.Disruptive {
		if in.servers, err = r.api.servers(ctx); err != nil {
			return err
		}
	}
	if len(r.o.Steps) > 0 {
		p.Elsewhere = in.elsewhere(in.servers)
	}
	if len(in.servers) > 0 && len(p.Serial) > 0 {
		if err := r.reach(ctx, in.servers); err != nil {
			return err
		}
	}
	r.in = in
	last, err := r.api.readState(ctx)
	if err != nil && !errors.Is(err, ErrNoRollout) {
		return err
	}
	if err == nil && !r.o.Restart && last.goesOn(r.o) {
		r.state = state{ID: last.ID, Started: last.Started, Phase: last.Phase, Sealed: last.Sealed}
		if r.done, err = r.api.reached(ctx, last.ID, last.Phase); err != nil {
			return err
		}
	} else {
		r.state = state{ID: newID(), Started: time.Now().UTC().Truncate(time.Second)}
	}
	r.state.Command, r.state.Args, r.state.Image, r.state.Plan = r.o.Command, r.o.Args, r.o.Image, p
	r.state.Steps, r.state.Undo = r.o.Steps, r.o.Undo
	return r.api.writeState(ctx, r.state)
}

// run takes the nodes in their order. held ends when the Lease is lost: no
// further node is begun then, and those under way are still followed.
func (r *rollout) run(ctx, held context.Context) (report.Cluster, error) {
	p := r.state.Plan
	switch {
	case r.state.Phase != "":
		r.tell(Progress{State: Note, Text: fmt.Sprintf("going on with rollout %s: %d done before in phase %s", r.state.ID, len(r.done), r.state.Phase)})
	case len(r.done) > 0:
		r.tell(Progress{State: Note, Text: fmt.Sprintf("going on with rollout %s: %d done before", r.state.ID, len(r.done))})
	}
	for _, address := range p.EtcdOnly {
		r.tell(Progress{State: Note, Text: fmt.Sprintf("etcd member %s is on no Node: a Job cannot reach that host", address)})
	}
	for _, s := range p.Skipped {
		r.tell(Progress{Node: s.Node, State: Skipping, Text: s.Reason})
		r.merged.Add(report.ClusterNode{Name: s.Node, State: report.NodeSkipped, Reason: s.Reason}, nil)
	}
	begin, stop := context.WithCancelCause(held)
	defer stop(nil)
	left, result := r.parts(ctx, begin, stop)
	if result != nil {
		r.state.Stopped = result.Error()
	}
	if r.state.Phase == "" {
		for _, node := range left {
			r.merged.Add(report.ClusterNode{Name: node, State: report.NodeLeft, Reason: "the rollout stopped before"}, nil)
		}
	} else if merged, err := r.api.collect(context.WithoutCancel(ctx), r.state, r.why); err == nil {
		r.merged = merged // each node had several turns
	} else {
		result = errors.Join(result, err)
	}
	r.state.Ended = time.Now().UTC().Truncate(time.Second)
	r.merged.Rollout = r.state.run()
	r.merged.Sort()
	// The last word is written also by one that was told to stop.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
	defer cancel()
	return r.merged, errors.Join(result, r.api.writeState(last, r.state))
}

// take takes some nodes, the first of several alone, and returns those that were
// not begun.
func (r *rollout) take(ctx, begin context.Context, stop context.CancelCauseFunc, p part, nodes []string, parallel int, serial bool) []string {
	var under sync.WaitGroup
	defer under.Wait()
	places := make(chan struct{}, parallel)
	var todo []string
	for _, node := range nodes {
		if r.done[node] {
			if err := r.before(ctx, p.phase, node); err != nil {
				r.fail(node, Outcome{}, err)
				stop(err)
			}
			continue
		}
		todo = append(todo, node)
	}
	for i, node := range todo {
		select {
		case places <- struct{}{}:
		case <-begin.Done():
		}
		if begin.Err() != nil {
			return todo[i:]
		}
		one := func() {
			defer func() { <-places }()
			if err := r.node(ctx, begin, p.phase, node, serial); err != nil {
				stop(err)
			}
		}
		if i == 0 || serial {
			one()
		} else {
			under.Go(one)
		}
	}
	return nil
}

// before adds a node that an earlier process of this rollout was done with.
func (r *rollout) before(ctx context.Context, phase fix.Phase, node string) error {
	o, err := r.api.outcome(ctx, r.state.ID, node)
	if err == nil {
		err = r.took(ctx, phase, node, o)
	}
	if err != nil {
		return err
	}
	r.succeed(node, o, "done before")
	return nil
}

// node takes one node from its beginning to its end, and tells of it.
func (r *rollout) node(ctx, begin context.Context, phase fix.Phase, node string, serial bool) error {
	outcome, err := r.harden(ctx, begin, phase, node, serial)
	if err == nil {
		err = r.took(ctx, phase, node, outcome)
	}
	if err != nil {
		err = r.fail(node, outcome, err)
	} else {
		r.succeed(node, outcome, "")
	}
	r.announce(ctx, phase, node, story(outcome, err))
	return err
}

// harden has the Job of a node run. The outcome may be known beside an error.
func (r *rollout) harden(ctx, begin context.Context, phase fix.Phase, node string, serial bool) (Outcome, error) {
	gate := serial && r.o.Choice.Disruptive
	if gate {
		r.tell(Progress{Node: node, State: Waiting, Text: "asking each API server, its etcd and the nodes"})
		if err := r.whole(begin); err != nil {
			return Outcome{}, fmt.Errorf("not begun: the cluster is not whole: %w", err)
		}
	}
	args := slices.Concat([]string{r.o.Command}, r.o.Args, r.o.Once)
	if phase != "" {
		args = slices.Concat([]string{"fix"}, r.o.Args, r.o.Once, []string{"--phase=" + string(phase)})
		if phase.Encrypts() && r.state.Sealed != "" {
			args = append(args, "--sealed-key="+r.state.Sealed)
		}
	}
	objects, err := newNodeObjects(nodeSpec{
		Rollout: r.state.ID, Phase: phase, Node: node, NodeUID: r.in.uids[node], Image: r.o.Image, Deadline: r.o.Times.Node,
		Args: args, ReadOnly: !r.o.Choice.Disruptive,
	})
	if err != nil {
		return Outcome{}, err
	}
	r.tell(Progress{Node: node, State: Running, Text: "Job " + objects.Job.Name})
	if err := r.api.begin(begin, objects, r.o.Times.Settle); err != nil {
		return Outcome{}, fmt.Errorf("not begun: %w", err)
	}
	outcome, err := r.drive(ctx, node, objects.Job.Name)
	if err != nil {
		return outcome, err
	}
	switch {
	case gate:
		err = r.whole(ctx)
	case r.o.Choice.Disruptive:
		err = until(ctx, r.o.Times.Settle, func(ctx context.Context) error { return r.api.ready(ctx, node) })
	}
	if err != nil {
		return outcome, fmt.Errorf("afterwards the cluster is not whole: %w", err)
	}
	return outcome, nil
}

// drive follows the Job of a node to its end, and tells what its program says if
// not too many others are followed.
func (r *rollout) drive(ctx context.Context, node, job string) (Outcome, error) {
	var f *follower
	select {
	case r.followed <- struct{}{}:
		defer func() { <-r.followed }()
		f = &follower{api: r.api, job: job, tell: func(line string) { r.tell(Progress{Node: node, State: Running, Text: line}) }}
	default:
	}
	return r.api.drive(ctx, r.state.ID, node, job, r.o.Times, f)
}

// fail takes down that a node failed, and returns why.
func (r *rollout) fail(node string, o Outcome, why error) error {
	why = fmt.Errorf("node %s: %s", node, oneLine(why.Error()))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = cmp.Or(r.failed, why)
	if r.why == nil {
		r.why = map[string]string{}
	}
	r.why[node] = why.Error()
	r.merged.Add(report.ClusterNode{Name: node, State: report.NodeFailed, Reason: why.Error()}, o.Report)
	r.behind++
	r.say(Progress{Node: node, State: Failed, Text: why.Error()})
	return why
}

// succeed takes down that a node is done.
func (r *rollout) succeed(node string, o Outcome, text string) {
	if o.Report != nil {
		t := o.Report.Totals
		found := fmt.Sprintf("%d PASS, %d FAIL, %d WARN", t.Pass, t.Fail, t.Warn)
		if text != "" {
			text += ": "
		}
		text += found
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.merged.Add(report.ClusterNode{Name: node, State: report.NodeDone}, o.Report)
	r.behind++
	r.say(Progress{Node: node, State: Done, Text: text})
}

func (r *rollout) tell(p Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.say(p)
}

// say is tell for one who holds the lock.
func (r *rollout) say(p Progress) {
	p.Done, p.Total = r.behind, r.total
	r.o.Tell(p)
}

// run is what the report says of a rollout.
func (s state) run() report.ClusterRun {
	run := report.ClusterRun{
		ID: s.ID, Command: s.Command, Args: s.Args, Image: s.Image, Stopped: s.Stopped, EtcdOnly: s.Plan.EtcdOnly,
		Started: s.Started.Format(time.RFC3339),
	}
	if !s.Ended.IsZero() {
		run.Ended = s.Ended.Format(time.RFC3339)
	}
	return run
}
