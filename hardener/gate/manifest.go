package gate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// programs are the components that run as static pods.
var programs = map[string]string{
	node.APIServer: "kube-apiserver", node.ControllerManager: "kube-controller-manager", node.Scheduler: "kube-scheduler",
}

// staticPod is a static pod as its manifest has it.
type staticPod struct {
	component, file string
	name, namespace string // in the API: with the name of the node
	annotations     map[string]string
	main            corev1.Container
	volumes         []corev1.Volume
	hash            string        // of the pod, not of the file: comments do not count
	grace           time.Duration // terminationGracePeriodSeconds
}

// readPod reads a manifest as leniently as the kubelet does
// (pkg/kubelet/config/common.go, tryDecodeSinglePod): what the kubelet would
// not take is an error here, but not everything that it refuses is seen.
func readPod(fsys fs.FS, component, file, nodeName string) (staticPod, error) {
	data, err := fs.ReadFile(fsys, node.Name(file))
	if err != nil {
		return staticPod{}, fmt.Errorf("read manifest: %w", err)
	}
	pod, err := decodePod(data)
	if err != nil {
		return staticPod{}, fmt.Errorf("manifest %s: %w", file, err)
	}
	content, err := json.Marshal(pod)
	if err != nil {
		return staticPod{}, fmt.Errorf("manifest %s: %w", file, err)
	}
	main, ok := mainContainer(pod, programs[component])
	if !ok {
		return staticPod{}, fmt.Errorf("manifest %s: no container runs %s", file, programs[component])
	}
	sum := sha256.Sum256(content)
	p := staticPod{
		component: component, file: file,
		name: pod.Name + "-" + strings.ToLower(nodeName), namespace: cmp.Or(pod.Namespace, "default"),
		annotations: pod.Annotations, main: main, volumes: pod.Spec.Volumes, hash: hex.EncodeToString(sum[:]), grace: 30 * time.Second,
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		p.grace = time.Duration(*s) * time.Second
	}
	return p, nil
}

func decodePod(data []byte) (pod *corev1.Pod, err error) {
	defer func() {
		if r := recover(); r != nil { // sigs.k8s.io/yaml on some broken text
			pod, err = nil, fmt.Errorf("not a pod: %v", r)
		}
	}()
	pod = &corev1.Pod{}
	switch err := yaml.Unmarshal(data, pod); {
	case err != nil:
		return nil, fmt.Errorf("not a pod: %w", err)
	case pod.Kind != "Pod" || pod.APIVersion != "v1":
		return nil, fmt.Errorf("not a pod: kind %q of %q", pod.Kind, pod.APIVersion)
	case pod.Name == "":
		return nil, errors.New("not a pod: it has no name")
	}
	return pod, nil
}

func mainContainer(pod *corev1.Pod, program string) (corev1.Container, bool) {
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		argv := slices.Concat(c.Command, c.Args)
		return len(argv) > 0 && path.Base(argv[0]) == program
	})
	if i < 0 {
		i = slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == program })
	}
	if i < 0 {
		return corev1.Container{}, false
	}
	return pod.Spec.Containers[i], true
}

// argv is what the manifest starts.
func (p staticPod) argv() []string { return slices.Concat(p.main.Command, p.main.Args) }

// flag is the value of a flag in the manifest, or otherwise.
func (p staticPod) flag(name, otherwise string) string {
	if v, ok := node.FlagValue(p.argv(), name); ok && v != "" {
		return v
	}
	return otherwise
}

// hostFile is the path on the host of a file that the container sees, "" when it
// is in no directory or file of the host's.
func (p staticPod) hostFile(inside string) string {
	found, deepest := "", -1
	for _, m := range p.main.VolumeMounts {
		rest, ok := strings.CutPrefix(inside, strings.TrimSuffix(m.MountPath, "/"))
		if !ok || rest != "" && rest[0] != '/' || len(m.MountPath) <= deepest {
			continue
		}
		found, deepest = "", len(m.MountPath)
		i := slices.IndexFunc(p.volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i >= 0 && p.volumes[i].HostPath != nil && m.SubPath == "" && m.SubPathExpr == "" {
			found = path.Join(p.volumes[i].HostPath.Path, rest)
		}
	}
	return found
}

// startup is how long the kubelet lets the container start: its startup probe,
// or where there is none the liveness probe, failing to its threshold.
func (p staticPod) startup() time.Duration {
	probe := p.main.StartupProbe
	if probe == nil {
		probe = p.main.LivenessProbe
	}
	if probe == nil {
		return 0
	}
	return time.Duration(probe.InitialDelaySeconds)*time.Second + time.Duration(cmp.Or(probe.FailureThreshold, 3))*period(probe)
}

// period is periodSeconds with the default of pkg/apis/core/v1/defaults.go.
func period(p *corev1.Probe) time.Duration {
	return time.Duration(cmp.Or(p.PeriodSeconds, 10)) * time.Second
}

// sameArgv compares what a process was given with what the manifest says, and
// returns the first difference. A word in which the kubelet expands a variable
// is not compared.
func sameArgv(runs, wants []string) error {
	for i := range max(len(runs), len(wants)) {
		switch {
		case i >= len(runs):
			return fmt.Errorf("the process runs without %s", wants[i])
		case i >= len(wants):
			return fmt.Errorf("the process runs with %s, which its manifest has not", runs[i])
		case runs[i] != wants[i] && !strings.Contains(wants[i], "$("):
			return fmt.Errorf("the process runs with %s where its manifest has %s", runs[i], wants[i])
		}
	}
	return nil
}

// repeated are the flags that an argv holds more than once. Of most of them the
// last one counts, so that an added one may change nothing; some are lists.
func repeated(argv []string) []string {
	count := map[string]int{}
	for _, arg := range argv {
		if name, _, _ := strings.Cut(arg, "="); strings.HasPrefix(name, "-") {
			count[strings.TrimLeft(name, "-")]++
		}
	}
	var names []string
	for name, n := range count {
		if n > 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
