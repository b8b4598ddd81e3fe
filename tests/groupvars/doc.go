// Package groupvars shows that the variables which hardener vars writes do in
// Kubespray what fixes did on a node: the templates of several releases, rendered by
// Ansible with the file, against a node that was fixed. Then it does to the node what
// an upgrade would, and checks it again.
//
// It needs a clone of Kubespray, of which nothing is kept: make groupvars KUBESPRAY=DIR.
package groupvars
