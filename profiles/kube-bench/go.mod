// Pins the module that the profiles are copied from. Its program has a hundred
// dependencies that the program here must not inherit, hence a module of its
// own. There is nothing to build: do not tidy it.
module github.com/kubespray-hardener/kubespray-hardener/profiles/kube-bench

go 1.26.0

require github.com/aquasecurity/kube-bench v0.15.6
