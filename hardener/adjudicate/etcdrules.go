package adjudicate

import (
	"bytes"
	"fmt"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// etcdPod: host and docker etcd run as a systemd unit, and an external one is
// not on this node. A made-up etcd.yaml would be run as a static pod.
func etcdPod(x *inquiry) (Verdict, bool) {
	etcd := x.facts.Components[node.Etcd]
	switch x.facts.EtcdType {
	case "host", "docker":
		if etcd.Manifest != "" {
			return undecided()
		}
		var evidence []string
		for _, file := range append([]string{etcd.Unit}, etcd.EnvFiles...) {
			if file != "" {
				evidence = append(evidence, x.describe(file))
			}
		}
		if len(evidence) == 0 {
			return undecided()
		}
		return x.notApplicable("etcd runs as a systemd unit, no pod specification exists", evidence...)
	case "external", "none":
		return noEtcdHere(x)
	}
	return undecided()
}

// noEtcdHere answers for a node whose API server uses an etcd elsewhere. The
// evidence is the API server's own flag; without it nothing is decided.
func noEtcdHere(x *inquiry) (Verdict, bool) {
	if x.known[node.Etcd] != nil {
		return undecided()
	}
	if etcd := x.facts.Components[node.Etcd]; etcd.Manifest != "" || etcd.Unit != "" {
		return undecided()
	}
	if _, set := x.flag(node.APIServer, "etcd-servers"); !set {
		return undecided()
	}
	return x.notApplicable("no etcd runs on this node, the API server uses one elsewhere", x.flagEvidence(node.APIServer, "etcd-servers"))
}

// etcdData: the view has the real directory; here only what it says when it
// differs from kube-bench's guess, and nodes without etcd.
func etcdData(x *inquiry) (Verdict, bool) {
	if verdict, ok := noEtcdHere(x); ok && (x.facts.EtcdType == "external" || x.facts.EtcdType == "none") {
		return verdict, true
	}
	data, ok := x.corrected()["etcddatadir"]
	etcd := x.known[node.Etcd]
	if !ok || etcd == nil || etcd.folded["data-dir"] == "" || x.raw.State == x.truth.State && x.raw.Reason == "" {
		return undecided()
	}
	evidence := []string{data.evidence, x.describe(data.value)}
	const reason = "kube-bench does not see the data directory, which is not set by a flag"
	switch {
	case x.truth.Reason != "":
		return x.bad("the data directory cannot be looked at", evidence...)
	case x.truth.State == check.Pass:
		return x.pass(reason, evidence...)
	}
	return x.bad(reason+"; the real one is not as the benchmark asks", evidence...)
}

// uniqueCA: kube-bench asks only that a CA is set. It is not unique when it is
// the cluster's.
func uniqueCA(x *inquiry) (Verdict, bool) {
	file, set := x.own("trusted-ca-file")
	if !set || x.truth.State != check.Pass {
		return undecided()
	}
	ours := x.hostPath(node.Etcd, file)
	content, ok := x.read(ours.path)
	if !ok {
		return undecided()
	}
	cluster := x.facts.Components[node.Kubelet].CAFile
	if inPod, set := x.flag(node.APIServer, "client-ca-file"); set {
		cluster = x.hostPath(node.APIServer, inPod).path
	}
	other, ok := x.read(cluster)
	if !ok || !bytes.Equal(bytes.TrimSpace(content), bytes.TrimSpace(other)) {
		return undecided()
	}
	return x.bad("etcd trusts the cluster's own CA, so every client certificate of the cluster is accepted",
		x.ownEvidence("trusted-ca-file"), fmt.Sprintf("%s and %s hold the same certificate", ours.path, cluster))
}
