package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// What Fit finds out on the host itself, without the API.

const (
	diskShare = 15      // percent of a disk that are enough
	diskBytes = 2 << 30 // bytes that are enough however large the disk is
)

// diskFree wants room on the disks of the manifests, of this program's state, of
// the pods' logs and of the container runtime: a full disk makes a half-written
// file or a pod that cannot start.
func (f *fitness) diskFree(context.Context) error {
	runtimeDir := map[string]string{"docker": "/var/lib/docker", "cri-o": "/var/lib/containers"}[f.at.facts.Runtime]
	if runtimeDir == "" {
		runtimeDir = "/var/lib/containerd"
	}
	var errs []error
	for _, dir := range []string{f.at.facts.ManifestDir, "/var/lib/kubespray-hardener", "/var/log/pods", runtimeDir} {
		if dir == "" {
			continue
		}
		free, size, err := f.space(dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", dir, err))
		} else if !enough(free, size) {
			errs = append(errs, fmt.Errorf("%s: %d MiB of %d are free", dir, free>>20, size>>20))
		}
	}
	return errors.Join(errs...)
}

func enough(free, size uint64) bool { return free >= diskBytes || free*100 > size*diskShare }

// space is that of a directory, or where it is not there yet of the nearest one
// above.
func (f *fitness) space(dir string) (free, size uint64, err error) {
	for {
		free, size, err = f.Space(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return free, size, err
		}
		dir = path.Dir(dir)
	}
}

// imagesPresent wants every image of the pods that restart, and the pause image
// of their sandboxes, on the node: a registry may be out of reach, and then a
// component that ended does not come back.
func (f *fitness) imagesPresent(ctx context.Context) error {
	r, err := f.connect(f.at.facts)
	if err != nil {
		return err
	}
	var images []string
	var errs []error
	for _, name := range staticPods(f.components) {
		c := f.at.facts.Components[name]
		data, err := fs.ReadFile(f.FS, node.Name(c.Manifest))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		pod, err := decodePod(data)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.Manifest, err))
			continue
		}
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			images = append(images, c.Image)
		}
	}
	pause, err := f.pauseImage(ctx, r)
	if err != nil {
		errs = append(errs, err)
	} else {
		images = append(images, pause)
	}
	slices.Sort(images)
	for _, image := range slices.Compact(images) {
		if ok, err := r.hasImage(ctx, image); err != nil {
			errs = append(errs, err)
		} else if !ok {
			errs = append(errs, fmt.Errorf("%s is not on the node", image))
		}
	}
	return errors.Join(errs...)
}

// sandboxImage is containerd's setting, up to version 1 of the program and since
// version 2 (plugins "io.containerd.cri.v1.images".pinned_images).
var sandboxImage = regexp.MustCompile(`(?m)^\s*sandbox(?:_image)?\s*=\s*["']([^"']+)["']`)

// pauseImage is the image that the runtime starts sandboxes from: what its own
// status says (containerd 1), its configuration, or what a running sandbox has.
func (f *fitness) pauseImage(ctx context.Context, r *runtime) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, f.Limits.Request)
	defer cancel()
	answer, err := r.service.Status(ctx, &cri.StatusRequest{Verbose: true})
	if err != nil {
		return "", runtimeError("status", err)
	}
	var config struct {
		SandboxImage string `json:"sandboxImage"`
	}
	if json.Unmarshal([]byte(answer.Info["config"]), &config) == nil && config.SandboxImage != "" {
		return config.SandboxImage, nil
	}
	if data, err := fs.ReadFile(f.FS, "etc/containerd/config.toml"); err == nil {
		if m := sandboxImage.FindSubmatch(data); m != nil {
			return string(m[1]), nil
		}
	}
	boxes, err := r.service.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return "", runtimeError("list sandboxes", err)
	}
	slices.SortFunc(boxes.Items, func(a, b *cri.PodSandbox) int { return int(b.CreatedAt - a.CreatedAt) })
	for _, b := range boxes.Items {
		s, err := r.service.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: b.Id, Verbose: true})
		if err != nil {
			continue
		}
		var info struct {
			Image string `json:"image"`
		}
		if json.Unmarshal([]byte(s.Info["info"]), &info) == nil && info.Image != "" {
			return info.Image, nil
		}
	}
	return "", errors.New("it cannot be told which pause image sandboxes start from")
}

// others are programs that change what a gate looks at.
var others = []string{"ansible-playbook", "kubeadm", "k8s-certs-renew.sh"}

// nobodyElseAtWork looks for a run of Ansible, of kubeadm or of Kubespray's
// renewal of certificates on this node, and for a module that Ansible runs here
// from elsewhere. What started us does not count, nor does what descends from whoever
// had us started over SSH or in a Job: a playbook that is run on the node itself waits
// for us.
func (f *fitness) nobodyElseAtWork(context.Context) error {
	procs, err := node.ReadProcesses(f.FS)
	if err != nil {
		return err
	}
	self, _ := fs.ReadLink(f.FS, "proc/self")
	ours := ancestors(procs, self)
	starter := f.starter()
	var errs []error
	for _, p := range procs {
		if name := otherWork(p); name != "" && !ours[p.PID] && (starter == 0 || !ancestors(procs, strconv.Itoa(p.PID))[starter]) {
			errs = append(errs, fmt.Errorf("process %d runs %s", p.PID, name))
		}
	}
	return errors.Join(errs...)
}

// starter is the process on this node that had us started, 0 if there is none. The
// number of a process says something only together with the machine and its boot.
func (f *fitness) starter() int {
	boot, pid, ok := strings.Cut(f.StartedBy, "/")
	here, err := fs.ReadFile(f.FS, "proc/sys/kernel/random/boot_id")
	if !ok || err != nil || strings.TrimSpace(string(here)) != boot {
		return 0
	}
	n, err := strconv.Atoi(pid)
	if err != nil || n < 2 { // everything descends from process 1
		return 0
	}
	return n
}

// otherWork names the work of somebody else that a process does, if it does.
func otherWork(p node.Process) string {
	// A script is the argument of its interpreter.
	for i, arg := range p.Args[:min(3, len(p.Args))] {
		if name := path.Base(arg); slices.Contains(others, name) && (i == 0 || interpreter(p.Args[0])) {
			return name
		}
		if strings.Contains(arg, "/.ansible/tmp/ansible-tmp-") && strings.HasPrefix(path.Base(arg), "AnsiballZ_") {
			return "a module of Ansible, " + path.Base(arg)
		}
	}
	return ""
}

func interpreter(program string) bool {
	name := path.Base(program)
	return strings.HasPrefix(name, "python") || slices.Contains([]string{"sh", "bash", "dash", "env"}, name)
}

// ancestors are the process of that number and those that it descends from.
func ancestors(procs node.Processes, pid string) map[int]bool {
	parent := map[int]int{}
	for _, p := range procs {
		parent[p.PID] = p.PPID
	}
	all := map[int]bool{}
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil {
		return all
	}
	for ; n > 0 && !all[n]; n = parent[n] {
		all[n] = true
	}
	return all
}

// podsNamedOnce refuses two files of one pod in the manifest directory: the
// kubelet takes the later one by name, and removes the pod when either goes
// (pkg/kubelet/config/file.go). A backup beside a manifest is such a file.
func (f *fitness) podsNamedOnce(context.Context) error {
	dir := f.at.facts.ManifestDir
	entries, err := fs.ReadDir(f.FS, node.Name(dir))
	if err != nil {
		return err
	}
	files := map[string]string{}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // the kubelet does not read it
		}
		file := path.Join(dir, e.Name())
		data, err := fs.ReadFile(f.FS, node.Name(file))
		if err != nil {
			continue // a directory, which the kubelet leaves alone
		}
		pod, err := decodePod(data)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
			continue
		}
		key := pod.Namespace + "/" + pod.Name
		if other := files[key]; other != "" {
			errs = append(errs, fmt.Errorf("%s and %s hold the same pod %s", other, file, pod.Name))
		}
		files[key] = file
	}
	return errors.Join(errs...)
}
