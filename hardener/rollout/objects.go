package rollout

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	yamltojson "sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/manifests"
)

// Namespace is where everything lies that a rollout makes.
const Namespace = "kubespray-hardener"

// Labels and annotations of what a rollout makes.
const (
	labelComponent = "app.kubernetes.io/component" // node, report, rollout
	labelRollout   = Namespace + "/rollout"        // the rollout's ID
	annotationNode = Namespace + "/node"           // the Node's name, which may be too long for a label

	annotationPhase = Namespace + "/phase" // that a Job makes, and a report is of
)

// nodeSpec is what differs from node to node.
type nodeSpec struct {
	Rollout  string // ID
	Phase    fix.Phase
	Node     string
	NodeUID  string
	Image    string
	Args     []string // check or fix, with their flags
	Deadline time.Duration
	ReadOnly bool // the node's file tree
}

// nodeObjects are the objects of one node. All but the Job belong to the Node and
// go with it.
type nodeObjects struct {
	Report  corev1.ConfigMap
	Account corev1.ServiceAccount
	Role    rbacv1.Role
	Binding rbacv1.RoleBinding
	Job     batchv1.Job
}

// newNodeObjects fills in the file manifests/node/job.yaml.
func newNodeObjects(s nodeSpec) (nodeObjects, error) {
	var o nodeObjects
	if err := decodeAll(manifests.Node(), &o.Report, &o.Account, &o.Role, &o.Binding, &o.Job); err != nil {
		return nodeObjects{}, fmt.Errorf("manifest of a node: %w", err)
	}
	account, report := accountName(s.Node), reportName(s.Node)
	o.Report.Name = report
	o.Account.Name, o.Role.Name, o.Binding.Name = account, account, account
	o.Role.Rules[0].ResourceNames = []string{report}
	o.Binding.RoleRef.Name, o.Binding.Subjects[0].Name = account, account
	for _, meta := range []*metav1.ObjectMeta{&o.Report.ObjectMeta, &o.Account.ObjectMeta, &o.Role.ObjectMeta, &o.Binding.ObjectMeta} {
		meta.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: s.Node, UID: types.UID(s.NodeUID)}}
	}
	o.Job.Name = jobName(s.Rollout, s.Phase, s.Node)
	for _, meta := range []*metav1.ObjectMeta{&o.Report.ObjectMeta, &o.Job.ObjectMeta, &o.Job.Spec.Template.ObjectMeta} {
		if meta.Labels == nil {
			meta.Labels = map[string]string{}
		}
		meta.Labels[labelRollout] = s.Rollout
		meta.Annotations = map[string]string{annotationNode: s.Node}
		if s.Phase != "" {
			meta.Annotations[annotationPhase] = string(s.Phase)
		}
	}
	seconds := int64(s.Deadline / time.Second)
	o.Job.Spec.ActiveDeadlineSeconds = &seconds
	pod := &o.Job.Spec.Template.Spec
	pod.NodeName, pod.ServiceAccountName = s.Node, account
	c := &pod.Containers[0]
	c.Image = s.Image
	c.Args = append(append([]string(nil), s.Args...), "--report-to="+Destination{Namespace, report}.String())
	c.VolumeMounts[0].ReadOnly = s.ReadOnly
	return o, nil
}

// decodeAll reads the documents of a YAML file, strictly and in order.
func decodeAll(data []byte, into ...any) error {
	docs := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(data)))
	defer docs.Close()
	buffer := make([]byte, len(data))
	for i, object := range into {
		n, err := docs.Read(buffer)
		if err != nil {
			return fmt.Errorf("document %d: %w", i+1, err)
		}
		if err := yamltojson.UnmarshalStrict(buffer[:n], object); err != nil {
			return fmt.Errorf("document %d: %w", i+1, err)
		}
	}
	if n, err := docs.Read(buffer); err == nil {
		return fmt.Errorf("one document too many: %.40q", buffer[:n])
	}
	return nil
}

// Limits of names: of most objects, and of a Job, whose name is a label of its
// pods (k8s.io/apimachinery/pkg/util/validation).
const (
	maxName = 253
	maxJob  = 63
)

func reportName(node string) string  { return fit("report-"+node, maxName) }
func accountName(node string) string { return fit("hardener-"+node, maxName) }

// jobName is the same for the same rollout, phase and node, so that one that goes on
// finds its Jobs. Dots would be wrong in the host name of the pod.
func jobName(rollout string, phase fix.Phase, node string) string {
	plain := strings.ReplaceAll(node, ".", "-")
	name := "hardener-" + rollout + "-"
	if phase != "" {
		name += strings.ReplaceAll(string(phase), ":", "-") + "-"
	}
	name += plain
	end := "-" + hash(string(phase)+node)
	if plain != node { // another node's name may differ in this alone
		name += end
	}
	if len(name) > maxJob {
		name = strings.TrimRight(name[:maxJob-len(end)], "-") + end
	}
	return name
}

// fit cuts a name that is too long and keeps it different from others.
func fit(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	end := "-" + hash(name)
	return strings.TrimRight(name[:limit-len(end)], "-.") + end
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("%x", sum[:5])
}

// pinned is an image with a digest.
var pinned = regexp.MustCompile(`^[^\s@]+@sha256:[0-9a-f]{64}$`)

// placeholder is the image of the files in manifests.
const placeholder = "ghcr.io/kubespray-hardener/hardener@sha256:0000000000000000000000000000000000000000000000000000000000000000"

// CheckImage refuses an image that does not say by digest what it is: each node
// could get another program by the same tag. With allowTag it may have one.
func CheckImage(image string, allowTag bool) error {
	switch {
	case image == "":
		return fmt.Errorf("no image")
	case image == placeholder:
		return fmt.Errorf("image %s: it stands for the real one", image)
	case strings.ContainsAny(image, " \t\r\n\"'"):
		return fmt.Errorf("image %q: not the name of an image", image)
	case !pinned.MatchString(image) && (!allowTag || strings.Contains(image, "@")):
		return fmt.Errorf("image %s: it is not pinned by a digest (NAME@sha256:...)", image)
	}
	return nil
}

// Manifests is the YAML that makes a rollout from inside the cluster: install.yaml,
// steps.yaml where there are steps across nodes, and rollout.yaml with this image
// and these arguments, comments and all.
func Manifests(image string, args []string, steps bool) ([]byte, error) {
	text, err := fillIn(string(manifests.Rollout()), image, args)
	if err != nil {
		return nil, fmt.Errorf("manifest of the rollout: %w", err)
	}
	var job batchv1.Job
	if err := decodeAll([]byte(text), &job); err != nil {
		return nil, fmt.Errorf("manifest of the rollout: %w", err)
	}
	install := manifests.Install()
	if steps {
		install = slices.Concat(install, []byte("---\n"), manifests.Steps())
	}
	return slices.Concat(install, []byte("---\n"), []byte(text)), nil
}

// fillIn puts an image and arguments into a file of manifests that has one container.
func fillIn(text, image string, args []string) (string, error) {
	head, rest, ok := strings.Cut(text, "        args:\n")
	if !ok {
		return "", fmt.Errorf("no arguments")
	}
	i := 0
	for line := range strings.Lines(rest) { // the arguments that it has
		if !strings.HasPrefix(line, "        - ") {
			break
		}
		i += len(line)
	}
	var list strings.Builder
	list.WriteString("        args:\n")
	for _, arg := range args {
		fmt.Fprintf(&list, "        - %s\n", strconv.Quote(arg))
	}
	return strings.ReplaceAll(head+list.String()+rest[i:], placeholder, image), nil
}
