//go:build linux

package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// EtcdGate restarts the etcd member of a node, which systemd runs and files of
// environment variables configure, and proves that it has them and that its
// cluster is whole. A second etcd, for events, has a gate of its own.
type EtcdGate struct {
	FS      fs.FS            // the node's tree, proc included
	Systemd *systemd.Manager // the node's
	Etcd    node.Component   // etcd or etcd-events

	// APIServer is the API server of this node, nil when it has none, and
	// AdminConf the path of a kubeconfig that may ask it.
	APIServer *node.Component
	AdminConf string

	Stable time.Duration // how long one process must run without a restart; 0: 15 s
	Limit  time.Duration // within which everything must be proven; 0: 3 min
	Note   func(string)  // hears what could not be asked, once; may be nil

	restarted time.Time
	noted     map[string]bool
}

// EtcdSnapshot is what Before saw.
type EtcdSnapshot struct {
	State EtcdState
	unit  systemd.Unit
}

// The defaults of EtcdGate. The unit's RestartSec is 10 s.
const (
	etcdStable = 15 * time.Second
	etcdLimit  = 3 * time.Minute
	etcdPoll   = time.Second
)

func (g *EtcdGate) unit() string {
	if g.Etcd.Unit != "" {
		return path.Base(g.Etcd.Unit)
	}
	return "etcd.service"
}

func (g *EtcdGate) name() string { return strings.TrimSuffix(g.unit(), ".service") }

// environment is what the files on disk say now; of two that set a variable the
// later counts (systemd.exec(5), EnvironmentFile=).
func (g *EtcdGate) environment() (map[string]string, error) {
	env := map[string]string{}
	for _, file := range g.Etcd.EnvFiles {
		data, err := fs.ReadFile(g.FS, strings.TrimPrefix(file, "/"))
		if err != nil {
			return nil, err
		}
		maps.Copy(env, node.ParseEnvFile(data))
	}
	if len(env) == 0 {
		return nil, errors.New("it has no environment file")
	}
	return env, nil
}

func (g *EtcdGate) client() (*etcdClient, error) {
	env, err := g.environment()
	if err != nil {
		return nil, err
	}
	return newEtcdClient(g.FS, env)
}

// EtcdHealthy tells whether the cluster of this member is whole: every member
// healthy, one leader, one term, no alarm, none lagging behind. It changes
// nothing, and is a precondition for whatever restarts a part of a control plane.
func (g *EtcdGate) EtcdHealthy(ctx context.Context) (EtcdState, error) {
	c, err := g.client()
	if err == nil {
		var s EtcdState
		if s, err = c.healthy(ctx); err == nil {
			return s, nil
		}
	}
	return EtcdState{}, fmt.Errorf("%s: not healthy: %w", g.name(), err)
}

// Before refuses a member that is not running, or whose cluster is not whole. It
// changes nothing, and comes before the edit.
func (g *EtcdGate) Before(ctx context.Context) (s EtcdSnapshot, err error) {
	if s.unit, err = g.Systemd.Unit(ctx, g.unit()); err != nil {
		return s, fmt.Errorf("%s: before the restart: %w", g.name(), err)
	}
	if !s.unit.Running() {
		return s, fmt.Errorf("%s: before the restart: %s is %s (%s) %s", g.name(), g.unit(), s.unit.ActiveState, s.unit.SubState, s.unit.Failure())
	}
	s.State, err = g.EtcdHealthy(ctx)
	return s, err
}

// Restart restarts this member, after another has become the leader if this one
// is, and waits until it has joined. Its error says why it does not come up.
func (g *EtcdGate) Restart(ctx context.Context) error {
	if err := g.giveUpLead(ctx); err != nil {
		// An election decides it as well, only later.
		g.note("its leadership could not be moved: %v", err)
	}
	u, err := g.Systemd.Unit(ctx, g.unit())
	if err == nil && u.NeedDaemonReload {
		err = g.Systemd.Reload(ctx)
	}
	g.restarted = time.Now().Add(-time.Second)
	if err == nil {
		err = g.Systemd.Restart(ctx, g.unit())
	}
	if err != nil {
		return fmt.Errorf("%s: %w%s", g.name(), err, etcdLastWords(g.FS, g.restarted))
	}
	return nil
}

// giveUpLead makes another member the leader and waits until this one knows it.
func (g *EtcdGate) giveUpLead(ctx context.Context) error {
	// A member that failed the proof may be down when it is restarted again.
	c, err := g.client()
	if err != nil {
		return err
	}
	s, err := c.look(ctx)
	if err != nil {
		return err
	}
	to := s.successor()
	if s.Leader != s.Own || to == "" {
		return nil
	}
	if err := c.moveLeader(ctx, to); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < plainTimeout; {
		if now, err := c.status(ctx, c.own); err == nil && now.Leader == to {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("member %s does not become the leader", to)
}

// Prove waits until the restarted member is proven, and fails as soon as it
// cannot be any more. It tells what is missing when the limit has passed.
func (g *EtcdGate) Prove(ctx context.Context, before EtcdSnapshot) error {
	limit := g.Limit
	if limit == 0 {
		limit = etcdLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var up systemd.Unit
	var since time.Time
	restarts := -1 // at first: they are not counted from zero when it was failing before
	missing := "nothing was asked yet"
	tick := time.NewTicker(etcdPoll)
	defer tick.Stop()
	for {
		u, err := g.Systemd.Unit(ctx, g.unit())
		if restarts < 0 {
			restarts = u.NRestarts
		}
		switch {
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("%s: after the restart: %w", g.name(), err)
		case err != nil:
		case u.Down() || u.ActiveState == "failed" || u.NRestarts > restarts+1:
			return fmt.Errorf("%s: after the restart: %s does not stay up: %s%s", g.name(), g.unit(), u.Failure(), etcdLastWords(g.FS, g.restarted))
		case !u.Running():
			since = time.Time{}
			missing = fmt.Sprintf("%s is %s (%s): %s", g.unit(), u.ActiveState, u.SubState, u.Failure())
		default:
			if since.IsZero() || u.MainPID != up.MainPID || u.NRestarts != up.NRestarts {
				up, since = u, time.Now()
			}
			if missing, err = g.proven(ctx, before, u, since); err != nil {
				return fmt.Errorf("%s: after the restart: %w", g.name(), err)
			}
			if missing == "" {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: after the restart: not proven within %s: %s", g.name(), limit, missing)
		}
	}
}

// proven asks for everything once.
func (g *EtcdGate) proven(ctx context.Context, before EtcdSnapshot, u systemd.Unit, since time.Time) (missing string, err error) {
	if err := g.environmentInForce(u.MainPID); err != nil {
		return "", err
	}
	s, err := g.EtcdHealthy(ctx)
	if err != nil {
		return err.Error(), nil
	}
	if s.Members != before.State.Members {
		return "", fmt.Errorf("the cluster has %d members, before %d", s.Members, before.State.Members)
	}
	if err := g.apiServer(ctx); err != nil {
		return "the API server of this node: " + err.Error(), nil
	}
	stable := g.Stable
	if stable == 0 {
		stable = etcdStable
	}
	if up := time.Since(since); up < stable {
		return fmt.Sprintf("up for %s, %s are asked for", up.Round(time.Second), stable), nil
	}
	return "", nil
}

// environmentInForce looks whether the process has every ETCD_* value of the
// files. It is read when a process starts, so that a difference stays.
func (g *EtcdGate) environmentInForce(pid int) error {
	want, err := g.environment()
	if err != nil {
		return err
	}
	have, err := g.processEnvironment(pid, want)
	if err != nil {
		return err
	}
	var differ []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if strings.HasPrefix(name, "ETCD_") && have[name] != want[name] {
			differ = append(differ, name)
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("process %d does not have what %s say: %s", pid, strings.Join(g.Etcd.EnvFiles, " and "), strings.Join(differ, ", "))
	}
	return nil
}

// processEnvironment is that of the main process, or, when that only starts a
// container (Kubespray's deployment type docker), of the etcd with the same data
// directory.
func (g *EtcdGate) processEnvironment(pid int, want map[string]string) (map[string]string, error) {
	read := func(pid string) (map[string]string, bool, error) {
		comm, err := fs.ReadFile(g.FS, "proc/"+pid+"/comm")
		if err != nil {
			return nil, false, err
		}
		data, err := fs.ReadFile(g.FS, "proc/"+pid+"/environ")
		env := map[string]string{}
		for _, e := range strings.Split(string(data), "\x00") {
			if name, value, ok := strings.Cut(e, "="); ok {
				env[name] = value
			}
		}
		return env, strings.TrimSpace(string(comm)) == "etcd", err
	}
	env, isEtcd, err := read(strconv.Itoa(pid))
	if err != nil || isEtcd {
		return env, err
	}
	entries, err := fs.ReadDir(g.FS, "proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if env, isEtcd, err := read(e.Name()); err == nil && isEtcd && env["ETCD_DATA_DIR"] == want["ETCD_DATA_DIR"] && env["ETCD_NAME"] == want["ETCD_NAME"] {
			return env, nil
		}
	}
	return nil, fmt.Errorf("no etcd process has the data directory %s", want["ETCD_DATA_DIR"])
}

// apiServer asks the API server of this node, and not what a load balancer
// chooses, whether it reaches etcd.
func (g *EtcdGate) apiServer(ctx context.Context) error {
	if g.APIServer == nil {
		return nil
	}
	if g.AdminConf == "" {
		g.note("whether the API server of this node reaches it could not be asked: no kubeconfig")
		return nil
	}
	argv := g.APIServer.Flags()
	address, port := "127.0.0.1", "6443"
	if v, ok := node.FlagValue(argv, "advertise-address"); ok {
		address = v
	}
	if v, ok := node.FlagValue(argv, "secure-port"); ok {
		port = v
	}
	api, err := openPlainAPI(g.FS, g.AdminConf, "https://"+net.JoinHostPort(address, port))
	if err != nil {
		return err
	}
	var said string
	if err := api.get(ctx, "/readyz/etcd", &said); err != nil {
		if plainForbidden(err) {
			g.note("whether the API server of this node reaches it could not be asked: %v", err)
			return nil
		}
		return err
	}
	if strings.TrimSpace(said) != "ok" {
		return fmt.Errorf("/readyz/etcd says %.100q", said)
	}
	return nil
}

func (g *EtcdGate) note(format string, args ...any) {
	text := g.name() + ": " + fmt.Sprintf(format, args...)
	if g.Note == nil || g.noted[text] {
		return
	}
	if g.noted == nil {
		g.noted = map[string]bool{}
	}
	g.noted[text] = true
	g.Note(text)
}

// Watch looks on for a time after the proof: the same process, the cluster
// whole. A fault that lasts for three looks is one.
func (g *EtcdGate) Watch(ctx context.Context, d time.Duration) error {
	first, err := g.Systemd.Unit(ctx, g.unit())
	if err != nil {
		return fmt.Errorf("%s: watched for %s: %w", g.name(), d, err)
	}
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(5 * etcdPoll)
	defer tick.Stop()
	for bad := 0; ; {
		_, fault := g.EtcdHealthy(ctx)
		if fault == nil {
			fault = g.apiServer(ctx)
		}
		u, err := g.Systemd.Unit(ctx, g.unit())
		if err == nil && (u.MainPID != first.MainPID || u.NRestarts != first.NRestarts) {
			err = fmt.Errorf("%s was restarted: process %d, now %d %s", g.unit(), first.MainPID, u.MainPID, u.Failure())
		}
		if bad++; fault == nil {
			bad = 0
		}
		if err == nil && bad == 3 {
			err = fault
		}
		if err != nil {
			return fmt.Errorf("%s: watched for %s: %w", g.name(), d, err)
		}
		select {
		case <-tick.C:
		case <-end.C:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%s: watched for %s: %w", g.name(), d, context.Cause(ctx))
		}
	}
}
