//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// The archive that hardener-image saves is imported into a node's containerd, as
// on a site without a registry; a pod that pins the digest runs from it and takes
// the mounted host for the node.
func TestImageImport(t *testing.T) {
	c := lab.Need(t, lab.Small)
	cp, worker := c.Node("cp1"), c.Node("worker1")
	image := importImage(t, worker)
	byTag, byDigest := image.Name, image.pinned()
	list := must(t, worker, "ctr", "-n", "k8s.io", "images", "ls")
	for _, name := range []string{byTag, byDigest} {
		found := false
		for line := range strings.Lines(list) {
			words := strings.Fields(line)
			found = found || len(words) > 2 && words[0] == name && words[2] == image.Digest
		}
		if !found {
			t.Errorf("containerd has no %s with the digest that was printed:\n%s", name, list)
		}
	}

	t.Run("container", func(t *testing.T) {
		version := strings.TrimSpace(must(t, worker, "ctr", "-n", "k8s.io", "run", "--rm", byTag, "hardener-version", "/hardener", "--version"))
		if version != "hardener "+image.Version {
			t.Errorf("it says %q, want version %s", version, image.Version)
		}
	})

	t.Run("pod", func(t *testing.T) {
		const name = "hardener-image"
		if err := c.Apply(t.Context(), fmt.Appendf(nil, pod, name, byDigest)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cp.Run(context.Background(), "kubectl", "delete", "pod", name, "--now") })
		var phase string
		until(t, 3*time.Minute, "the pod has ended", func() (bool, string) {
			phase = strings.TrimSpace(must(t, cp, "kubectl", "get", "pod", name, "-o", "jsonpath={.status.phase}"))
			if phase == "Succeeded" || phase == "Failed" {
				return true, phase
			}
			return false, phase + "\n" + must(t, cp, "kubectl", "describe", "pod", name)
		})
		log := must(t, cp, "kubectl", "logs", name)
		if phase != "Succeeded" {
			t.Fatalf("%s: %s", phase, log)
		}
		var inside struct {
			NodeName string `json:"node_name"`
		}
		if err := json.Unmarshal([]byte(log), &inside); err != nil {
			t.Fatalf("%v: %s", err, log)
		}
		install(t, worker)
		outside := must(t, worker, "hardener", "detect", "--output", "json")
		if inside.NodeName != "worker1" {
			t.Errorf("the pod sees node %q, want worker1: %s", inside.NodeName, log)
		}
		if a, b := running(t, []byte(log)), running(t, []byte(outside)); !bytes.Equal(a, b) {
			t.Errorf("the pod sees other components than the host: %s, want %s", a, b)
		}
	})
}

// savedImage is the image as hardener-image tells of it.
type savedImage struct{ Digest, Name, Version string }

func (i savedImage) pinned() string { return i.Name[:strings.LastIndex(i.Name, ":")] + "@" + i.Digest }

// importImage has nodes import the archive that hardener-image saves, for as long
// as the test runs.
func importImage(t *testing.T, nodes ...*machine.Node) savedImage {
	t.Helper()
	archive, image := saveImage(t)
	for _, n := range nodes {
		file, err := os.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		t.Cleanup(func() {
			n.Run(context.Background(), "ctr", "-n", "k8s.io", "images", "rm", "--sync", image.Name, image.pinned())
		})
		if _, err := n.Feed(t.Context(), file, "ctr", "-n", "k8s.io", "images", "import", "-"); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// saveImage has hardener-image save the image to an archive. No registry has it.
func saveImage(t *testing.T) (archive string, image savedImage) {
	t.Helper()
	archive = filepath.Join(t.TempDir(), "image.tar")
	save := exec.CommandContext(t.Context(), "go", "run", "./cmd/hardener-image", "save", archive,
		"--name", "registry.invalid/team/hardener", "--tag", "e2e", "--output", "json") // .invalid answers nobody (RFC 2606)
	save.Dir = "../.."
	save.Stderr = os.Stderr
	out, err := save.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &image); err != nil {
		t.Fatal(err)
	}
	return archive, image
}

// running is which components a detection found, and where.
func running(t *testing.T, detected []byte) []byte {
	t.Helper()
	var facts struct{ Components map[string]map[string]any }
	if err := json.Unmarshal(detected, &facts); err != nil {
		t.Fatalf("%v: %s", err, detected)
	}
	if len(facts.Components) == 0 {
		t.Errorf("no components: %s", detected)
	}
	out, err := json.Marshal(facts.Components)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pod is what it takes to look at a node.
const pod = `apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default}
spec:
  nodeName: worker1
  restartPolicy: Never
  hostPID: true
  tolerations: [{operator: Exists}]
  containers:
  - name: hardener
    image: %s
    imagePullPolicy: Never
    args: [detect, --output, json]
    securityContext: {privileged: true, readOnlyRootFilesystem: true}
    volumeMounts: [{name: host, mountPath: /host, readOnly: true}]
  volumes: [{name: host, hostPath: {path: /, type: Directory}}]
`
