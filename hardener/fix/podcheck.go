package fix

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"
)

// decodePod reads a manifest strictly. The kubelet reads it leniently and drops
// a misspelt field without a word (pkg/kubelet/config/common.go), so a field
// that is unknown here would be one that silently does nothing.
func decodePod(data []byte) (pod *corev1.Pod, err error) {
	defer func() {
		if r := recover(); r != nil {
			pod, err = nil, fmt.Errorf("not a pod: %v", r)
		}
	}()
	pod = &corev1.Pod{}
	if err := yaml.UnmarshalStrict(data, pod); err != nil {
		return nil, fmt.Errorf("not a pod: %w", err)
	}
	if pod.Kind != "Pod" || pod.APIVersion != "v1" {
		return nil, fmt.Errorf("not a pod: kind %q of %q", pod.Kind, pod.APIVersion)
	}
	return pod, nil
}

// verifyPod checks that after is before with exactly the wanted change, and that
// the kubelet would accept it.
func verifyPod(known *memory, before, after []byte, binary string, c podChange) error {
	was, err := known.pod(before)
	if err != nil {
		return err
	}
	is, err := known.pod(after)
	if err != nil {
		return fmt.Errorf("after the edit: %w", err)
	}
	if err := validatePod(is); err != nil {
		return fmt.Errorf("after the edit: %w", err)
	}
	i := slices.IndexFunc(was.Spec.Containers, func(x corev1.Container) bool { return runs(x, binary) })
	if i < 0 || len(is.Spec.Containers) != len(was.Spec.Containers) {
		return errors.New("after the edit: the containers are not the same")
	}
	if err := verifyArgs(was.Spec.Containers[i], is.Spec.Containers[i], c.flags); err != nil {
		return fmt.Errorf("after the edit: %w", err)
	}
	applyPodChange(was, i, c)
	was.Spec.Containers[i].Command, was.Spec.Containers[i].Args = is.Spec.Containers[i].Command, is.Spec.Containers[i].Args
	if !equality.Semantic.DeepEqual(was, is) {
		return errors.New("after the edit: something else changed as well")
	}
	return nil
}

func runs(c corev1.Container, binary string) bool {
	words := slices.Concat(c.Command, c.Args)
	switch {
	case len(words) == 0:
		return false
	case len(c.Command) == 0 && strings.HasPrefix(words[0], "--"):
		return c.Name == binary
	case path.Base(words[0]) == "hyperkube" && len(words) > 1:
		return path.Base(words[1]) == binary
	}
	return path.Base(words[0]) == binary
}

// applyPodChange makes every part of the change but the flags to the decoded
// pod.
func applyPodChange(pod *corev1.Pod, container int, c podChange) {
	ct := &pod.Spec.Containers[container]
	if c.probeHost != "" {
		for _, p := range []*corev1.Probe{ct.LivenessProbe, ct.ReadinessProbe, ct.StartupProbe} {
			if p != nil && p.HTTPGet != nil {
				p.HTTPGet.Host = c.probeHost
			}
			if p != nil && p.TCPSocket != nil {
				p.TCPSocket.Host = c.probeHost
			}
		}
	}
	for _, x := range c.mounts {
		ct.VolumeMounts = append(ct.VolumeMounts, corev1.VolumeMount{Name: x.name, MountPath: x.mountPath, ReadOnly: x.readOnly})
		kind := corev1.HostPathType(x.hostPathType)
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: x.name, VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: x.hostPath, Type: &kind}}})
	}
	if len(c.annotations) > 0 && pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	maps.Copy(pod.Annotations, c.annotations)
}

// verifyArgs checks that each flag that was to change is there once with its
// value, or gone, and that every other argument is as it was, in order.
func verifyArgs(was, is corev1.Container, flags map[string]*string) error {
	before, _ := withoutFlags(slices.Concat(was.Command, was.Args), flags)
	after, found := withoutFlags(slices.Concat(is.Command, is.Args), flags)
	if !slices.Equal(before, after) {
		return errors.New("an argument changed that should not")
	}
	for name, want := range flags {
		got := found[name]
		switch {
		case want == nil && len(got) > 0:
			return fmt.Errorf("--%s is still there", name)
		case want != nil && (len(got) != 1 || got[0] != *want):
			return fmt.Errorf("--%s is not there exactly once with its value", name)
		}
	}
	return nil
}

// withoutFlags takes the named flags out of an argv.
func withoutFlags(argv []string, flags map[string]*string) (rest []string, found map[string][]string) {
	found = map[string][]string{}
	args := make([]argument, len(argv))
	for i, a := range argv {
		args[i].text = a
	}
	drop := map[int]bool{}
	for name := range flags {
		for _, u := range uses(args, name) {
			found[name] = append(found[name], u.value)
			for n := range u.items {
				drop[u.at+n] = true
			}
		}
	}
	for i, a := range argv {
		if !drop[i] {
			rest = append(rest, a)
		}
	}
	return rest, found
}

// validatePod holds the kubelet's rules for the parts that are edited
// (pkg/apis/core/validation ValidateVolumes, ValidateVolumeMounts). It refuses a
// manifest that breaks one, and the rescan then removes the running pod.
func validatePod(pod *corev1.Pod) error {
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		if v.Name == "" || volumes[v.Name] {
			return fmt.Errorf("volume name %q is not unique", v.Name)
		}
		volumes[v.Name] = true
		if v.HostPath != nil && (v.HostPath.Path == "" || slices.Contains(strings.Split(v.HostPath.Path, "/"), "..")) {
			return fmt.Errorf("volume %q has an unusable host path", v.Name)
		}
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		paths := map[string]bool{}
		for _, m := range c.VolumeMounts {
			switch {
			case m.MountPath == "" || paths[m.MountPath]:
				return fmt.Errorf("mount path %q of container %s must be unique", m.MountPath, c.Name)
			case !volumes[m.Name]:
				return fmt.Errorf("container %s mounts volume %q, which is not there", c.Name, m.Name)
			}
			paths[m.MountPath] = true
		}
	}
	return nil
}
