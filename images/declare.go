package images

import "time"

// What the image declares, whoever makes it. The Dockerfile says the same, and
// a test compares the two.
const (
	// Title is the program's name and the last part of the image's usual name.
	Title = "hardener"
	// Description is one sentence for registries to show.
	Description = "Checks a Kubernetes node against the CIS benchmark and fixes what fails without leaving the node broken"
	// Source is where the code is.
	Source = "https://github.com/kubespray-hardener/kubespray-hardener"
	// Licenses is an SPDX expression for the project's own code; NOTICE names the
	// rest.
	Licenses = "Apache-2.0"

	// HostRoot is where the job mounts the node's file tree.
	HostRoot = "/host"
	// User is root, by number because the image has no /etc/passwd: the program
	// reads files that only root may read, gives files to other owners, and talks
	// to the node's systemd. It can do so only where the job makes it privileged;
	// any other user would merely fail later.
	User = "0"
)

// Entrypoint is the program. Arguments of a container follow it.
func Entrypoint() []string { return []string{"/hardener"} }

// Env makes the mounted host the node; --root overrides it.
func Env() []string { return []string{"HARDENER_ROOT=" + HostRoot} }

// The files of the image. There is nothing else in it: no shell and no CA
// certificates, as the program talks to API servers alone, whose CA is in the
// kubeconfig or in the service account.
const (
	binaryPath  = "hardener"
	licensePath = "licenses/LICENSE"
	noticePath  = "licenses/NOTICE"
	tempPath    = "tmp" // for the demo's node
)

// labels are the image's labels and annotations, with the keys of the OCI image
// specification (annotations.md). One that is not known is left out.
func (c Content) labels() map[string]string {
	all := map[string]string{}
	for key, value := range map[string]string{
		"title":       Title,
		"description": Description,
		"source":      Source,
		"licenses":    Licenses,
		"version":     c.Version,
		"revision":    c.Revision,
		"created":     c.Created.UTC().Format(time.RFC3339),
	} {
		if value != "" {
			all["org.opencontainers.image."+key] = value
		}
	}
	return all
}
