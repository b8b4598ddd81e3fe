// Package gate owns the proof that a component of a node runs what its files say
// and is healthy: that the node is fit for a restart of one at all (Fit), how it
// ran before its files change (Before), that it took them (Take), and that it goes
// on well (Soak). It is one for every component: a static pod, which its kubelet
// restarts as soon as its manifest changes, and a service of systemd, kubelet and
// etcd, which Take restarts.
//
// A static pod is proven in this order, and everything is asked again until it
// holds at one and the same time:
//
//	appear   the runtime runs one sandbox of the pod and one container in it,
//	         with the annotations and the argv of the manifest on disk; not the
//	         container of before when the pod in the manifest has changed
//	probes   the manifest's own probes, replayed as the kubelet does: without
//	         credentials, to the same address
//	serve    what the component is there for: an API server's readyz, a read, a
//	         dry-run create, and logs and exec of a pod through this very
//	         instance, then readyz and a read by the load balancer that the
//	         kubelet or the administrator uses; the healthz of the others
//	lease    of the others: a leader Lease that is being renewed
//	kubelet  the mirror pod is that of this sandbox, started and ready
//
// A service is proven when one process has been up for a time and
//
//	kubelet  its healthz is ok, it has every value of its configuration file, the
//	         cluster has heard of it since (Node and Lease), every container of a
//	         pod that was ready runs, and it has turned no pod away
//	etcd     it has every variable of its environment files, every member of its
//	         cluster is healthy with one leader, one term and no alarm, and this
//	         node's API server reaches it; another member leads before it restarts.
//	         Kubespray's second one, for Events, is a cluster of its own
//
// A wait ends early when failure is certain: a manifest that is no pod, a
// container or process that exited twice, no sandbox for three rounds of the
// kubelet over its manifests, a probe that is refused for a minute. With anonymous
// authentication switched off an API server answers everybody who has
// credentials, while its startup probe gets 401 until the kubelet kills it after
// four minutes: so an answer with credentials is never taken for a probe.
//
// What an API server is there for is demanded as far as it worked before: a
// cluster may forbid exec by policy, or have a load balancer that is away. Exec
// asks for a program that no image has, in a container of kube-system, so that no
// image's program runs: the proof is the container runtime's own word that it is
// not there. Each try leaves one event of pods/exec in the audit log and one error
// in the log of the runtime, and may be told of by what watches for exec; the
// program's name says whose it is.
//
// Steps across nodes have proofs of their own: of every kubelet from an API server
// (kubelets.go), and of all Secrets through every API server and in etcd
// (secrets.go). Those write, and say so: a Secret that is made and deleted again,
// and with RewriteSecrets every Secret as it is.
//
// Otherwise the package changes no file and nothing in the cluster: the one create
// is a dry run. What it does change is that it restarts a service, has systemd read changed
// units again before, and hands on the leadership of etcd. It leaves to others
// what is written (package txn), what is changed (package fix), how systemd is
// spoken to (package systemd), and when a gate is called and what follows when it
// fails (package hardener).
package gate
