//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

var update = flag.Bool("update", false, "write the golden tables anew")

// document is what the two programs' JSON has in common, and ours beyond it.
type document struct {
	Controls []struct {
		Tests []struct {
			Results []struct {
				ID        string `json:"test_number"`
				Status    string `json:"status"`
				KubeBench string `json:"kube_bench_status"`
				Reason    string `json:"verdict_reason"`
				Fix       struct {
					State, Risk, Reason string
				} `json:"fix"`
			} `json:"results"`
		} `json:"tests"`
	}
	Run struct {
		Changes []struct {
			Path string `json:"path"`
		} `json:"changes"`
		State string   `json:"state"`
		Notes []string `json:"notes"`
	} `json:"run"`
}

func verdicts(t *testing.T, report string) []string {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(report), &d); err != nil {
		t.Fatalf("%v: %.300s", err, report)
	}
	var all []string
	for _, c := range d.Controls {
		for _, g := range c.Tests {
			for _, r := range g.Results {
				all = append(all, r.ID+" "+r.Status)
			}
		}
	}
	return all
}

// table is a line for each verdict of ours: its number, the status, and what
// kube-bench says where that is something else, with the reason.
func table(t *testing.T, report string) string {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(report), &d); err != nil {
		t.Fatalf("%v: %.300s", err, report)
	}
	var lines strings.Builder
	for _, c := range d.Controls {
		for _, g := range c.Tests {
			for _, r := range g.Results {
				fmt.Fprintf(&lines, "%-7s %s", r.ID, r.Status)
				if r.Reason != "" {
					fmt.Fprintf(&lines, " (kube-bench: %s) %s", r.KubeBench, r.Reason)
				}
				lines.WriteByte('\n')
			}
		}
	}
	return lines.String()
}

// report runs a command whose exit code 1 stands for findings.
func report(t *testing.T, n *machine.Node, name string, args ...string) string {
	t.Helper()
	out, err := n.Run(t.Context(), name, args...)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatal(err)
	}
	return out
}

// On each node our --raw verdicts are those of the real kube-bench there, for
// all targets that are defined for it.
func TestRawEqualsKubeBench(t *testing.T) {
	c := lab.Need(t, lab.Small)
	for node, targets := range map[string]string{
		"cp1":     "master,node,etcd,controlplane,policies",
		"worker1": "node",
	} {
		n := c.Node(node)
		install(t, n)
		for _, benchmark := range []string{"cis-1.12", "cis-1.11"} {
			t.Run(node+"/"+benchmark, func(t *testing.T) {
				began := time.Now()
				theirs := verdicts(t, report(t, n, "kube-bench", "--config-dir=/etc/kube-bench/cfg", "--config=/etc/kube-bench/cfg/config.yaml",
					"run", "--benchmark="+benchmark, "--targets="+targets, "--json"))
				their := time.Since(began)
				began = time.Now()
				ours := verdicts(t, report(t, n, "hardener", "check", "--raw", "--benchmark="+benchmark, "--targets="+targets, "--output=json", "--kubeconfig="+kubeconfig(node)))
				our := time.Since(began)
				if diff := cmp.Diff(theirs, ours); diff != "" {
					t.Errorf("verdicts (-kube-bench +hardener):\n%s", diff)
				}
				if len(theirs) < 20 {
					t.Errorf("only %d checks were compared", len(theirs))
				}
				fmt.Printf("e2e: %s %s: %d verdicts equal; kube-bench %.2f s, hardener %.2f s\n", node, benchmark, len(theirs), their.Seconds(), our.Seconds())
			})
		}
	}
}

// kubeconfig is what a person logged in on the node would use; a worker has none.
func kubeconfig(node string) string {
	if strings.HasPrefix(node, "cp") {
		return "/root/.kube/config"
	}
	return ""
}

// latestBenchmark is the newest benchmark for the lab's version of Kubernetes.
func latestBenchmark() string {
	if strings.HasPrefix(lab.Version(), "v1.31.") {
		return "cis-1.11"
	}
	return "cis-1.12"
}

// The default verdicts on a node as Kubespray leaves it, with the reasons for
// those that are not kube-bench's: a table to read and to see change.
func TestDefaultVerdicts(t *testing.T) {
	c := lab.Need(t, lab.Small)
	for _, node := range []string{"cp1", "worker1"} {
		t.Run(node, func(t *testing.T) {
			n := c.Node(node)
			install(t, n)
			benchmark := latestBenchmark()
			out := report(t, n, "hardener", "check", "--benchmark="+benchmark, "--output=json", "--kubeconfig="+kubeconfig(node))
			got := table(t, out)
			golden := filepath.Join("testdata", "default-"+benchmark+"-"+node+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("%s (-want +got); run with -update when the change is right:\n%s", golden, diff)
			}
		})
	}
}

// Names resolve on a node, through nodelocaldns and CoreDNS, and the API answers
// on its ClusterIP.
func TestServicesAndNames(t *testing.T) {
	c := lab.Need(t, lab.Small)
	// nodelocaldns asks CoreDNS again a while after it has found it down.
	until(t, 2*time.Minute, "the API is reached by its name", func() (bool, string) {
		out, err := c.Node("worker1").Run(t.Context(), "python3", "-c", reachAPI)
		if err != nil {
			return false, err.Error()
		}
		return strings.TrimSpace(out) == "10.233.0.1", out
	})
}

// reachAPI asks nodelocaldns for the API's address, connects to it and prints it.
const reachAPI = `
import socket
name = b"".join(bytes([len(p)]) + p for p in b"kubernetes.default.svc.cluster.local".split(b"."))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.sendto(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x00\x01\x00\x01", ("169.254.25.10", 53))
answer = s.recv(512)
assert answer[3] & 15 == 0, "DNS answers with code %d" % (answer[3] & 15)
address = socket.inet_ntoa(answer[-4:])
socket.create_connection((address, 443), 20).close()
print(address)`

// No node has a route out of the lab.
func TestNoRouteOut(t *testing.T) {
	c := lab.Need(t, lab.Small)
	for _, n := range c.Nodes() {
		for _, line := range strings.Split(strings.TrimSpace(must(t, n, "ip", "-4", "route", "show", "table", "all")), "\n") {
			destination := strings.Fields(line)
			inside := slices.ContainsFunc([]string{"10.90.", "10.233.", "127.", "169.254.25.10"}, func(prefix string) bool {
				return strings.HasPrefix(destination[0], prefix) || len(destination) > 1 && strings.HasPrefix(destination[1], prefix)
			})
			if !inside {
				t.Errorf("%s: %s", n.Name, line)
			}
		}
		if out, err := n.Run(t.Context(), "ping", "-c1", "-W1", "192.0.2.1"); err == nil {
			t.Errorf("%s reaches 192.0.2.1: %s", n.Name, out)
		}
	}
}
