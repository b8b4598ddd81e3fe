// Package scale rolls out over a thousand nodes (build tag e2e; make scale) and
// measures what that costs: time, memory, and calls to the API. The program, the
// API server, etcd and the Job controller are real, and so are the rights and
// tokens of everybody; kwok plays the kubelets, and the package the programs on the
// nodes, up to the report, which the real code delivers.
package scale
