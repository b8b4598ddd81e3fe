//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// A rollout over three API servers and three etcd members, one of them on a host
// that no Job reaches, while a client writes and reads ten times a second through
// a worker's proxy: it notices nothing that a second try does not mend, and never
// are two servers or two members away at once.
func TestHARollout(t *testing.T) {
	c := lab.Need(t, lab.HA)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	// So that etcd, too, has something to be restarted for.
	for _, name := range []string{"cp1", "cp2"} {
		must(t, c.Node(name), "sh", "-c", "sed -i s/ETCD_CLIENT_CERT_AUTH=true/ETCD_CLIENT_CERT_AUTH=false/ /etc/etcd.env && systemctl restart etcd")
	}
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	image := importImage(t, cp, c.Node("cp2"), c.Node("cp3"), worker)

	busy := startClient(t, cp, worker)
	watch := observe(t, c)

	began := time.Now()
	r := newRollout(t, cp, image)
	r.completes(t)
	took := time.Since(began)
	merged := r.report(t)
	allDone(t, merged, "cp1", "cp2", "cp3", "worker1")
	if len(merged.Rollout.EtcdOnly) != 1 || !strings.Contains(merged.Rollout.EtcdOnly[0], "10.90.0.14") {
		t.Errorf("hosts with etcd alone: %v, want etcd1's", merged.Rollout.EtcdOnly)
	}

	fmt.Printf("e2e: ha: four nodes hardened in %.0f s\n", took.Seconds())
	busy.end(t, took)
	watch.end(t, "API servers", "etcd members")
	for _, n := range merged.Nodes {
		if len(n.Changes) == 0 {
			t.Errorf("%s: nothing was changed", n.Name)
		}
	}
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}
}

// busyClient is a user of the cluster, see its own package.
type busyClient struct {
	on             *machine.Node
	command        *exec.Cmd
	stdout, stderr bytes.Buffer
}

// startClient starts it on a worker, with the administrator's rights.
func startClient(t *testing.T, cp, worker *machine.Node) *busyClient {
	t.Helper()
	lay(t, "busyclient", worker)
	admin := must(t, cp, "cat", "/etc/kubernetes/admin.conf")
	if _, err := worker.Feed(t.Context(), strings.NewReader(admin), "sh", "-c", "umask 077; cat > /root/busyclient.conf"); err != nil {
		t.Fatal(err)
	}
	b := &busyClient{on: worker, command: worker.Command(t.Context(), "/root/busyclient", "--kubeconfig=/root/busyclient.conf")}
	b.command.Stdout, b.command.Stderr = &b.stdout, &b.stderr
	if err := b.command.Start(); err != nil {
		t.Fatal(err)
	}
	return b
}

// end ends it, and wants every request of its to have been answered rightly, at the
// second try at the latest.
func (b *busyClient) end(t *testing.T, after time.Duration) {
	t.Helper()
	must(t, b.on, "pkill", "-TERM", "-x", "busyclient")
	if err := b.command.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &b.stderr)
	}
	var asked struct {
		Requests, Retried, Failed, Wrong int
		Slowest                          float64
		Words                            []string
	}
	if err := json.Unmarshal(b.stdout.Bytes(), &asked); err != nil {
		t.Fatalf("%v: %s", err, &b.stdout)
	}
	fmt.Printf("e2e: ha: a client made %d requests, %d of them twice, slowest %.1f s; %d failed, %d read something else\n",
		asked.Requests, asked.Retried, asked.Slowest, asked.Failed, asked.Wrong)
	if asked.Failed > 0 || asked.Wrong > 0 || asked.Requests < int(after.Seconds()) {
		t.Errorf("the client: %+v", asked)
	}
}

// observer looks at every API server and every etcd member on its own address,
// five times a second.
type observer struct {
	stop  context.CancelFunc
	ended sync.WaitGroup

	mu   sync.Mutex
	away map[string]map[string]bool // kind: address
	most map[string]int             // kind: how many at once
}

func observe(t *testing.T, c *lab.Cluster) *observer {
	t.Helper()
	config, err := c.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const pair = "/etc/ssl/etcd/ssl/admin-cp1"
	certificate, err := tls.X509KeyPair([]byte(must(t, c.Node("cp1"), "cat", pair+".pem")), []byte(must(t, c.Node("cp1"), "cat", pair+"-key.pem")))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{
		// Only what does not answer at all counts, not what answers late.
		Timeout: 15 * time.Second,
		Transport: &http.Transport{
			DialContext: config.Dial, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate}}, // whether it answers, not who it is
		},
	}
	ctx, stop := context.WithCancel(t.Context())
	o := &observer{stop: stop, away: map[string]map[string]bool{}, most: map[string]int{}}
	t.Cleanup(stop)
	for kind, urls := range map[string][]string{
		"API servers":  {"https://10.90.0.11:6443/livez", "https://10.90.0.12:6443/livez", "https://10.90.0.13:6443/livez"},
		"etcd members": {"https://10.90.0.11:2379/version", "https://10.90.0.12:2379/version", "https://10.90.0.14:2379/version"},
	} {
		o.away[kind], o.most[kind] = map[string]bool{}, 0
		for _, url := range urls {
			o.ended.Go(func() {
				for ctx.Err() == nil {
					answered := answers(ctx, client, url)
					if ctx.Err() != nil {
						return
					}
					o.note(kind, url, !answered)
					time.Sleep(200 * time.Millisecond)
				}
			})
		}
	}
	return o
}

func (o *observer) note(kind, url string, away bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if away {
		o.away[kind][url] = true
	} else {
		delete(o.away[kind], url)
	}
	o.most[kind] = max(o.most[kind], len(o.away[kind]))
}

// end ends the observation. Of no kind may two have been away at once, and of these
// kinds one has to have been: else nothing was restarted, or nothing observed.
func (o *observer) end(t *testing.T, restarted ...string) {
	t.Helper()
	o.stop()
	o.ended.Wait()
	for kind, most := range o.most {
		fmt.Printf("e2e: ha: at most %d of 3 %s away at once\n", most, kind)
		if most > 1 {
			t.Errorf("%d %s were away at once", most, kind)
		}
		if most == 0 && slices.Contains(restarted, kind) {
			t.Errorf("no %s was ever away: nothing was restarted, or nothing was observed", kind)
		}
	}
}
