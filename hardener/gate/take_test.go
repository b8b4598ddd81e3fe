package gate

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Every fault happens after a change whose new container runs as the manifest
// says, unless the case sees to the container itself.
func TestTake(t *testing.T) {
	const flag = "--profiling=false"
	for name, c := range map[string]struct {
		component string
		fault     func(w *world)
		keep      bool // the runtime does not take the new manifest
		words     []string
		logged    string
	}{
		"an API server":         {component: node.APIServer},
		"a scheduler":           {component: node.Scheduler},
		"a controller manager":  {component: node.ControllerManager},
		"the old pod runs on":   {component: node.Scheduler, keep: true, words: []string{"appear: not within", "of before the change"}},
		"an old flag runs on":   {component: node.Scheduler, fault: func(w *world) { w.run("uid-2", "c2", w.argv("--profiling=true")) }, words: []string{"appear", "runs with --profiling=true where its manifest has --profiling=false"}},
		"an annotation is lost": {component: node.Scheduler, fault: func(w *world) { w.boxes[len(w.boxes)-1].Annotations["a"] = "c" }, words: []string{"annotation a of the running sandbox is c"}},
		"two sandboxes run":     {component: node.Scheduler, fault: func(w *world) { w.boxes[0].State = 0 }, words: []string{"2 sandboxes"}},
		"no sandbox":            {component: node.Scheduler, fault: func(w *world) { w.stop(0, "") }, words: []string{"has started no sandbox of pod kube-system/kube-scheduler-cp1"}},
		"broken YAML":           {component: node.Scheduler, fault: func(w *world) { w.write(w.manifestFile(), "apiVersion: v1\n  kind: [Pod\n") }, words: []string{"not a pod"}},
		"a manifest of another kind": {component: node.Scheduler, fault: func(w *world) { w.write(w.manifestFile(), "apiVersion: v1\nkind: Job\n") },
			words: []string{`kind "Job"`}},
		"a flag twice": {component: node.Scheduler, fault: func(w *world) { w.manifest(flag, flag); w.run("uid-3", "c3", w.argv(flag, flag)) },
			words: []string{"--profiling is given more than once"}},
		"a probe gets 401": {component: node.APIServer, fault: func(w *world) { w.answers["/livez"] = http.StatusUnauthorized },
			words: []string{"startup probe https://127.0.0.1:", "answered 401", "Unauthorized"}},
		"a scheduler's probe asks elsewhere": {component: node.Scheduler, fault: func(w *world) { w.probed = "127.0.0.9"; w.manifest(flag) },
			words: []string{"startup probe https://127.0.0.9:", "connection refused", "while the container runs and answers elsewhere"}},
		"an API server's probe asks elsewhere": {component: node.APIServer, fault: func(w *world) { w.probed = "127.0.0.9"; w.manifest(flag) },
			words: []string{"startup probe https://127.0.0.9:", "while the container runs and answers elsewhere"}},
		"a probe gets 500": {component: node.APIServer, fault: func(w *world) { w.answers["/livez"] = http.StatusInternalServerError },
			words: []string{"probes: not within", "answered 500"}},
		"etcd is away": {component: node.APIServer, fault: func(w *world) {
			w.answers["/readyz"], w.bodies["/readyz"] = http.StatusInternalServerError, "[+]ping ok\n[-]etcd failed: reason withheld\n"
		}, words: []string{"serve: not within", "[-]etcd failed"}},
		"etcd is not mentioned": {component: node.APIServer, fault: func(w *world) { w.bodies["/readyz"] = "[+]ping ok\n" }, words: []string{"does not say that etcd is ok"}},
		"create fails":          {component: node.APIServer, fault: func(w *world) { w.answers["/api/v1/namespaces/kube-system/configmaps"] = http.StatusForbidden }, words: []string{"dry-run create", "403"}},
		"logs fail": {component: node.APIServer, fault: func(w *world) {
			w.answers["/api/v1/namespaces/ns/pods/other/log"], w.bodies["/api/v1/namespaces/ns/pods/other/log"] = http.StatusInternalServerError, `{"message":"x509: no IP SANs"}`
		}, words: []string{"logs of ns/other", "x509"}},
		"exec does not reach the kubelet": {component: node.APIServer, fault: func(w *world) {
			w.answers[execPath], w.bodies[execPath] = http.StatusInternalServerError, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":500,"message":"dial tcp: connection refused"}`
		}, words: []string{"serve: not within", "exec in kube-system/proxy/main, which worked before", "answered 500: dial tcp: connection refused"}},
		"exec is answered in other words": {component: node.APIServer, fault: func(w *world) {
			w.answers[execPath], w.bodies[execPath] = http.StatusBadGateway, "no\nway"
		}, words: []string{"exec in kube-system/proxy/main", "502 Bad Gateway", "no | way"}},
		"the runtime has other troubles": {component: node.APIServer, fault: func(w *world) {
			w.executed = `{"status":"Failure","reason":"InternalError","message":"cannot connect to the shim"}`
		}, words: []string{"exec in kube-system/proxy/main", "does not try: cannot connect to the shim"}},
		"exec ends without a word": {component: node.APIServer, fault: func(w *world) { w.executed = "" }, words: []string{"ended without a status"}},
		"exec gives an exit code":  {component: node.APIServer, fault: func(w *world) { w.executed = `{"status":"Failure","reason":"NonZeroExitCode"}` }},
		"the Lease stands still":   {component: node.Scheduler, fault: func(w *world) { w.frozen = true }, words: []string{"lease: not within", "last renewed"}},
		"healthz fails":            {component: node.Scheduler, fault: func(w *world) { w.answers["/healthz"] = http.StatusInternalServerError }, words: []string{"healthz", "500"}},
		"the mirror pod is the old": {component: node.Scheduler, fault: func(w *world) {
			w.bodies[mirrorPath] = `{"metadata":{"annotations":{"kubernetes.io/config.hash":"uid-1"}}}`
		}, words: []string{"kubelet: not within", "mirror pod is that of uid-1"}},
		"the kubelet is not content": {component: node.Scheduler, fault: func(w *world) {
			w.bodies[mirrorPath] = strings.Replace(mirrorOf2, `"started":true`, `"started":false`, 1)
		}, words: []string{"not started"}},
		"the kubelet is not ready": {component: node.Scheduler, fault: func(w *world) { w.bodies[mirrorPath] = strings.Replace(mirrorOf2, `"ready":true`, `"ready":false`, 1) }, words: []string{"not ready"}},
		"the kubelet is content":   {component: node.Scheduler, fault: func(w *world) { w.bodies[mirrorPath] = mirrorOf2 }},
		"no API for a scheduler":   {component: node.Scheduler, fault: func(w *world) { w.dead("etc/kubernetes/admin.conf") }, logged: "left out, judged by the container runtime and the probes alone"},
		"no API for an API server": {component: node.APIServer, fault: func(w *world) { w.dead("etc/kubernetes/admin.conf") }, words: []string{"serve: not within"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.component)
			s := before(t, w)
			w.manifest(flag)
			if !c.keep {
				w.run("uid-2", "c2", w.argv(flag))
			}
			if c.fault != nil {
				c.fault(w)
			}
			wants(t, w.gates.Take(t.Context(), c.component, s), c.words...)
			if c.logged != "" && !strings.Contains(strings.Join(w.lines, "\n"), c.logged) {
				t.Errorf("%q is not said in %q", c.logged, w.lines)
			}
		})
	}
}

const (
	mirrorPath = "/api/v1/namespaces/kube-system/pods/kube-scheduler-cp1"
	mirrorOf2  = `{"metadata":{"annotations":{"kubernetes.io/config.hash":"uid-2"}},"status":{"containerStatuses":[{"name":"main","containerID":"containerd://c2","ready":true,"started":true}]}}`
)

// dead has a kubeconfig present a certificate authority that the server is not
// signed by, which fails like a server that is away.
func (w *world) dead(file string) {
	w.rewrite(file, w.server.URL, "https://another.example.org")
}

// rewrite replaces a text in a file of the node.
func (w *world) rewrite(file, from, to string) {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, file))
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(string(data), from) {
		w.t.Fatalf("%s does not have %q", file, from)
	}
	w.write(file, strings.Replace(string(data), from, to, 1))
}

// A container that exits with an error ends the wait the second time, with what
// it said last and without what looks like a credential.
func TestTakeCrashLoop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	w.gates.Limits.Margin = time.Minute
	s := before(t, w)
	w.manifest("--nonsense")
	w.run("uid-2", "c2", w.argv("--nonsense"))
	w.mu.Lock()
	w.exit(1, "2026-01-02T03:04:05Z stderr F first\n")
	w.mu.Unlock()
	ended := make(chan error)
	go func() { ended <- w.gates.Take(t.Context(), w.component, s) }()
	w.until("the first exit is seen", func() bool { return strings.Contains(strings.Join(w.lines, "\n"), "exited with 1: first") })
	w.mu.Lock()
	w.start("c3", w.argv("--nonsense"))
	w.exit(1, "2026-01-02T03:04:05Z stderr F zero\n2026-01-02T03:04:05Z stderr F one\n2026-01-02T03:04:05Z stderr F token: secret-token\n"+
		"2026-01-02T03:04:05Z stderr F Error: unknown flag: --nonsense\n")
	w.mu.Unlock()
	err := <-ended
	wants(t, err, "exited with 1, the second time", "one | token [hidden]", "unknown flag: --nonsense")
	if strings.Contains(err.Error(), "zero") {
		t.Errorf("too much is said: %s", err)
	}
}

// until waits for something that another goroutine does.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		w.mu.Lock()
		ok := holds()
		w.mu.Unlock()
		if ok {
			return
		}
	}
	w.t.Fatalf("%s: not within a minute", what)
}

// A container that comes and goes without ever failing its exit code is no proof
// either.
func TestTakeRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	w.gates.Limits.Margin = time.Minute
	s := before(t, w)
	w.manifest("--x")
	w.answers["/livez"] = http.StatusInternalServerError
	w.run("uid-2", "c2", w.argv("--x"))
	ended := make(chan error, 1)
	go func() { ended <- w.gates.Take(t.Context(), w.component, s) }()
	for _, id := range []string{"c3", "c4"} {
		seen := func() int { return strings.Count(strings.Join(w.lines, "\n"), "answered 500") }
		w.mu.Lock()
		n := seen()
		w.mu.Unlock()
		w.until("the probe is seen to fail", func() bool { return n < seen() || n > 0 })
		w.mu.Lock()
		w.exit(0, "")
		w.start(id, w.argv("--x"))
		w.mu.Unlock()
		time.Sleep(50 * time.Millisecond)
	}
	wants(t, <-ended, "restarted twice")
}

// A kubelet that waits before it starts a container again is given its longest
// wait.
func TestTakeBackOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	s := before(t, w)
	w.mu.Lock()
	w.exit(1, "")
	w.mu.Unlock()
	began := time.Now()
	wants(t, w.gates.Take(t.Context(), w.component, s), "appear: not within", "back-off, up to 1s")
	if took, least := time.Since(began), w.gates.Limits.Margin+w.gates.Limits.BackOff; took < least {
		t.Errorf("given up after %s, less than %s", took, least)
	}
	ended := make(chan error)
	go func() { ended <- w.gates.Take(t.Context(), w.component, s) }()
	w.until("back-off is seen", func() bool { return strings.Count(strings.Join(w.lines, "\n"), "back-off") == 2 })
	w.mu.Lock()
	w.start("c2", w.argv())
	w.mu.Unlock()
	wants(t, <-ended)
}

// After the files were put back the old container may still run, because the
// kubelet has not seen the change yet: it has to stay for a round of the kubelet.
func TestTakeAfterUndo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	s := before(t, w)
	began := time.Now()
	wants(t, w.gates.Take(t.Context(), w.component, s))
	if time.Since(began) < 100*time.Millisecond {
		t.Errorf("an unchanged container was believed after %s", time.Since(began))
	}
	w.run("uid-2", "c2", w.argv())
	wants(t, w.gates.Take(t.Context(), w.component, s), "another pod than that which was put back")
	w.run(podUID, "c3", w.argv())
	wants(t, w.gates.Take(t.Context(), w.component, s))
	wants(t, w.gates.Take(t.Context(), w.component, Snapshot{}))
}

func TestTakeIsInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	s := before(t, w)
	w.manifest("--x")
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	ended := make(chan error, 1)
	go func() { ended <- w.gates.Take(ctx, w.component, s) }()
	w.until("the old pod is seen", func() bool { return strings.Contains(strings.Join(w.lines, "\n"), "of before the change") })
	stop(errors.New("told to stop"))
	wants(t, <-ended, "told to stop", "of before the change")
}

func TestBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.APIServer)
	s := before(t, w)
	if p := s.Pod; !p.Mirror || !p.Create || p.Logs != "ns/other" || p.UID != podUID || p.Container != container1 || p.Address != "127.0.0.1" || p.Exec != "kube-system/proxy/main" || p.Ways != nil {
		t.Errorf("before: %+v", *p)
	}
	w.answers["/api/v1/namespaces/ns/pods/other/log"] = http.StatusForbidden
	w.answers["/api/v1/namespaces/kube-system/pods/proxy/log"] = http.StatusForbidden
	if s := before(t, w); s.Pod.Logs != "" {
		t.Errorf("logs that cannot be read are demanded afterwards: %+v", *s.Pod)
	}
	w.answers[execPath] = http.StatusForbidden
	if s := before(t, w); s.Pod.Exec != "" {
		t.Errorf("exec that is forbidden is demanded afterwards: %+v", *s.Pod)
	}
	w.manifest("--pending")
	_, err := w.gates.Before(t.Context(), w.component)
	wants(t, err, "runs without --pending")
	w.stop(0, "")
	_, err = w.gates.Before(t.Context(), w.component)
	wants(t, err, "0 sandboxes")
	_, err = w.gates.Before(t.Context(), node.Proxy)
	wants(t, err, "no gate")
	wants(t, w.gates.Take(t.Context(), node.Scheduler, s), "snapshot is of apiserver")
}

func TestSoak(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	wants(t, w.gates.Soak(t.Context(), []string{w.component}, 50*time.Millisecond))
	wants(t, w.gates.Soak(t.Context(), []string{node.Proxy}, time.Second), "no gate")

	ended := make(chan error)
	watch := func() {
		w.requests = nil
		go func() { ended <- w.gates.Soak(t.Context(), []string{w.component}, time.Minute) }()
		w.until("the probes are watched", func() bool { return len(w.requests) >= 4 }) // two to begin with
	}
	watch()
	w.mu.Lock()
	w.answers["/livez"] = http.StatusUnauthorized
	w.mu.Unlock()
	wants(t, <-ended, "answered 401, 1 times in a row")

	w.answers = map[string]int{}
	watch()
	w.mu.Lock()
	w.exit(2, "2026-01-02T03:04:05Z stderr F leaderelection lost\n")
	w.start("c9", w.argv())
	w.mu.Unlock()
	wants(t, <-ended, "restarted", "exited with 2: leaderelection lost")
}
