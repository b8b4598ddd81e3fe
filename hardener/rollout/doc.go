// Package rollout owns the order in which the nodes of a live cluster are checked
// or fixed, one privileged Job for each:
//
//	live Nodes, API servers, etcd members -> Plan: workers, then one by one whoever carries the control plane
//	Lease, so that two rollouts exclude each other
//	per node: healthy? -> ConfigMap for the report, the Job's rights -> Job -> report -> healthy?
//	steps across nodes -> phases, each on every node that has a part in it before the next (step.go)
//	the first failure ends it; what was done is read from the cluster, so that another rollout goes on
//
// It talks to the API server in plain JSON, as typed clients would link every
// API group. What is run on a node is the business of the commands check and
// fix, what a report says that of package report, and the YAML of all objects
// lies in the folder manifests.
package rollout
