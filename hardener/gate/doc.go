// Package gate owns the proof that a component of a node runs what its files
// say and is healthy, and that a node is fit for a restart of one at all.
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
//	         dry-run create and logs of a pod through this very instance; the
//	         healthz of the others, and a Lease that is being renewed
//	kubelet  the mirror pod is that of this sandbox, started and ready
//
// A wait ends early when failure is certain: a manifest that is no pod, a
// container that exited twice, no sandbox for three rounds of the kubelet over
// its manifests, a probe that is refused for a minute. With anonymous
// authentication switched off an API server answers everybody who has
// credentials, while its startup probe gets 401 until the kubelet kills it after
// four minutes: so an answer with credentials is never taken for a probe.
//
// The package changes nothing on the node and nothing in the cluster (the one
// create is a dry run). It leaves to others what is written (package txn), what
// is changed (package fix), when a gate is called and what follows when it fails
// (package hardener), and restarting units (package systemd).
package gate
