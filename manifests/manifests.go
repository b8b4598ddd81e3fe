// Package manifests owns the YAML of everything that is made in a cluster. The
// files are plain: kubectl apply takes them as they are. The program reads the
// same files and fills in names, images and arguments (package rollout).
package manifests

import _ "embed"

//go:embed install.yaml
var install []byte

//go:embed steps.yaml
var steps []byte

//go:embed rollout.yaml
var rollout []byte

//go:embed watch.yaml
var watch []byte

//go:embed repair.yaml
var repair []byte

//go:embed node/job.yaml
var node []byte

// Install is the namespace, and the rights of a rollout inside the cluster.
func Install() []byte { return install }

// Steps is what a rollout needs besides for steps across nodes.
func Steps() []byte { return steps }

// Rollout is the Job that runs a rollout from inside the cluster.
func Rollout() []byte { return rollout }

// Watch is the DaemonSet that watches every node and repairs nothing, with its account.
func Watch() []byte { return watch }

// Repair is what a watcher needs besides to repair.
func Repair() []byte { return repair }

// Node is the Job of one node with its account and the ConfigMap of its report.
// They are for a node of the name "node-name".
func Node() []byte { return node }
