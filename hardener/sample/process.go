package sample

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// manifestDir is the kubelet's staticPodPath of the sample, as an io/fs name.
const manifestDir = "etc/kubernetes/manifests"

// RenderProcesses writes proc below dir anew: the process table that the
// kubelet and systemd would give a node with the manifests, units and
// environment files that dir has now. It is a picture: no process runs. Only a
// directory that Write made is accepted.
func RenderProcesses(dir string) error {
	if _, err := OpenOwners(dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("sample: render processes: %w", err)
	}
	defer root.Close()
	procs, err := processes(root.FS())
	if err != nil {
		return fmt.Errorf("sample: render processes: %w", err)
	}
	if err := renderProc(root, procs); err != nil {
		return fmt.Errorf("sample: render processes: %w", err)
	}
	return nil
}

// process is one process to render.
type process struct {
	pid, ppid int
	comm      string // empty: that of argv[0]
	argv      []string
	env       []string
}

// defaultEnv is what systemd gives a service of the system.
var defaultEnv = [...]string{"LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// processes is the process table. The numbers are made up and stay the same
// from one rendering to the next.
func processes(fsys fs.FS) ([]process, error) {
	procs := []process{
		{pid: 1, argv: []string{"/sbin/init"}, comm: "systemd"},
		{pid: 2, comm: "kthreadd"},
		{pid: 9, ppid: 2, comm: "ksoftirqd/0"},
		{pid: 411, ppid: 1, argv: []string{"/lib/systemd/systemd-journald"}},
		{pid: 702, ppid: 1, argv: []string{"/usr/sbin/sshd", "-D"}},
		{pid: 748, ppid: 1, argv: []string{"/usr/bin/containerd"}},
		{pid: 803, ppid: 1, argv: []string{"/usr/bin/dockerd", "-H", "fd://", "--containerd=/run/containerd/containerd.sock"}},
	}
	etcd, err := etcdProcesses(fsys)
	if err != nil {
		return nil, err
	}
	procs = append(procs, etcd...)
	kubelet, err := service(fsys, "kubelet.service")
	if err != nil {
		return nil, err
	}
	kubelet.pid, kubelet.ppid = 1544, 1
	procs = append(procs, kubelet)
	pods, err := staticPods(fsys)
	if err != nil {
		return nil, err
	}
	procs = append(procs, pods...)
	return append(procs,
		process{pid: 2610, ppid: 748, argv: []string{"/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=node1"}},
		process{pid: 2894, ppid: 748, argv: []string{"calico-node", "-felix"}},
	), nil
}

// service is what systemd starts for a unit.
func service(fsys fs.FS, name string) (process, error) {
	unit, err := node.ReadUnit(fsys, name)
	if err != nil {
		return process{}, err
	}
	start, err := unit.Start(fsys)
	if err != nil {
		return process{}, err
	}
	if len(start.Argv) == 0 {
		return process{}, fmt.Errorf("%s starts nothing", unit.Path)
	}
	p := process{argv: start.Argv, env: slices.Clone(defaultEnv[:])}
	for _, k := range slices.Sorted(maps.Keys(start.Env)) {
		p.env = append(p.env, k+"="+start.Env[k])
	}
	return p, nil
}

// etcdProcesses are those of etcd in docker: the wrapper script that systemd
// starts and that is called etcd too, docker run, and etcd in its container.
func etcdProcesses(fsys fs.FS) ([]process, error) {
	wrapper, err := service(fsys, "etcd.service")
	if err != nil {
		return nil, err
	}
	script := wrapper.argv[0]
	data, err := fs.ReadFile(fsys, strings.TrimPrefix(script, "/"))
	if err != nil {
		return nil, err
	}
	run := dockerRun(string(data), wrapper.argv[1:])
	image := slices.IndexFunc(run, func(w string) bool { return strings.Contains(w, "coreos/etcd:") })
	if image < 0 || image+1 >= len(run) {
		return nil, fmt.Errorf("%s: no docker run of an etcd image", script)
	}
	inside := process{pid: 1289, ppid: 748, argv: run[image+1:], env: []string{defaultEnv[1]}}
	for _, w := range run[:image] {
		file, ok := strings.CutPrefix(w, "--env-file=")
		if !ok {
			continue
		}
		data, err := fs.ReadFile(fsys, strings.TrimPrefix(file, "/"))
		if err != nil {
			return nil, err
		}
		inside.env = append(inside.env, dockerEnv(string(data))...)
	}
	wrapper.pid, wrapper.ppid, wrapper.comm = 1203, 1, path.Base(script)
	wrapper.argv = append([]string{"/bin/bash"}, wrapper.argv...)
	return []process{wrapper, {pid: 1211, ppid: 1203, argv: run, env: wrapper.env}, inside}, nil
}

// dockerRun is the one command of the wrapper script, with args for "$@".
func dockerRun(script string, args []string) []string {
	var words []string
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, w := range strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), `\`)) {
			if w == `"$@"` {
				words = append(words, args...)
			} else {
				words = append(words, w)
			}
		}
	}
	return words
}

// dockerEnv reads an --env-file: NAME=VALUE as it stands, comments left out.
func dockerEnv(text string) []string {
	var env []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.Contains(line, "=") && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			env = append(env, line)
		}
	}
	return env
}

// staticPods are the processes of the pods that the kubelet reads from its
// manifest directory: of every file there whose name does not begin with a dot.
func staticPods(fsys fs.FS) ([]process, error) {
	files, err := fs.ReadDir(fsys, manifestDir)
	if err != nil {
		return nil, err
	}
	var procs []process
	for _, f := range files {
		if f.IsDir() || strings.HasPrefix(f.Name(), ".") {
			continue
		}
		data, err := fs.ReadFile(fsys, manifestDir+"/"+f.Name())
		if err != nil {
			return nil, err
		}
		var pod struct {
			Spec struct {
				Containers []struct {
					Command []string `json:"command"`
					Args    []string `json:"args"`
				} `json:"containers"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal(data, &pod); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		for _, c := range pod.Spec.Containers {
			argv := slices.Concat(c.Command, c.Args)
			if len(argv) == 0 {
				return nil, fmt.Errorf("%s: a container without a command", f.Name())
			}
			procs = append(procs, process{pid: 2100 + 40*len(procs), ppid: 748, argv: argv, env: []string{defaultEnv[1]}})
		}
	}
	if len(procs) == 0 {
		return nil, errors.New(manifestDir + " has no static pod")
	}
	return procs, nil
}
