package node

import (
	"debug/buildinfo"
	"io"
	"io/fs"
	"regexp"
	"strings"
)

var (
	versionTag  = regexp.MustCompile(`^v?(1\.\d+(?:\.\d+)?)(?:$|[^\d.])`)
	gitVersion  = regexp.MustCompile(`version\.gitVersion=v?(1\.\d+\.\d+)`)
	releaseFile = regexp.MustCompile(`^kubelet-v?(1\.\d+\.\d+)-`)
)

// findVersion reads the Kubernetes version from what runs, then from what would
// be installed.
func (d *detector) findVersion() {
	conclude := func(version, source string) {
		d.Kubernetes = Version{Version: version, Source: source}
		d.signal("kubernetes version: "+version, 0, "%s", source)
	}
	for _, name := range []string{APIServer, ControllerManager, Scheduler} {
		c := d.Components[name]
		if m := versionTag.FindStringSubmatch(imageTag(c.Image)); m != nil {
			conclude(m[1], c.Manifest+": image "+c.Image)
			return
		}
	}
	if m := versionTag.FindStringSubmatch(text(d.kubeadm["ClusterConfiguration"], "kubernetesVersion")); m != nil {
		conclude(m[1], d.KubeadmConfig+": kubernetesVersion")
		return
	}
	argv := d.Components[Kubelet].Flags()
	if len(argv) == 0 {
		return
	}
	if v := d.buildVersion(argv[0]); v != "" {
		conclude(v, argv[0]+": build information")
		return
	}
	if v, file := d.downloaded(argv[0]); v != "" {
		conclude(v, file)
	}
}

func imageTag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	return image[strings.LastIndexByte(image, ':')+1:]
}

// buildVersion reads the version that Kubernetes' build links into its programs
// (hack/lib/version.sh), if the Go toolchain recorded the linker's flags or the
// version of the module.
func (d *detector) buildVersion(program string) string {
	f, err := d.fsys.Open(Name(program))
	if err != nil {
		return ""
	}
	defer f.Close()
	r, ok := f.(io.ReaderAt)
	if !ok {
		return ""
	}
	info, err := buildinfo.Read(r)
	if err != nil {
		return "" // a wrapper, or built without
	}
	for _, s := range info.Settings {
		if m := gitVersion.FindStringSubmatch(s.Value); s.Key == "-ldflags" && m != nil {
			return m[1]
		}
	}
	if m := versionTag.FindStringSubmatch(info.Main.Version); m != nil && info.Main.Path == "k8s.io/kubernetes" {
		return m[1]
	}
	return ""
}

// downloaded looks for the file that Kubespray installed the kubelet from: the
// one of the same size in its download directory.
func (d *detector) downloaded(program string) (version, file string) {
	const dir = "/tmp/releases" // local_release_dir
	installed, err := fs.Stat(d.fsys, Name(program))
	if err != nil {
		return "", ""
	}
	entries, err := fs.ReadDir(d.fsys, Name(dir))
	if err != nil {
		return "", ""
	}
	for _, e := range entries {
		m := releaseFile.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		info, err := fs.Stat(d.fsys, Name(dir+"/"+e.Name()))
		if err == nil && info.Size() == installed.Size() {
			version, file = m[1], dir+"/"+e.Name()+" has the size of "+program
		}
	}
	return version, file
}
