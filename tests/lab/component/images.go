package component

import (
	"archive/tar"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kubespray-hardener/kubespray-hardener/tests/cache"
)

// The recipes of the images, so that whoever changes them gets other images.
var (
	//go:embed images.go
	imagesSource string
	//go:embed libraries.go
	librariesSource string
	//go:embed pause/main.go
	pauseSource string
)

// The images that nodes get for every version of Kubernetes, under the names
// that Kubespray 2.31 (roles/kubespray_defaults, download.yml) and kubeadm ask
// for. What is in them is of other versions than the tags say: Debian's nginx,
// and one CoreDNS, which also stands for the DNS cache of the nodes.
var (
	pauseNames   = []string{"registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10.1"}
	coreDNSNames = []string{
		"registry.k8s.io/coredns/coredns:v1.11.3", // kubeadm and Kubespray for 1.31
		"registry.k8s.io/coredns/coredns:v1.12.1", // for 1.34
		"registry.k8s.io/coredns/coredns:v1.12.4", // Kubespray for 1.35
		"registry.k8s.io/coredns/coredns:v1.13.1", // kubeadm for 1.35
	}
	nodeCacheNames = []string{"registry.k8s.io/dns/k8s-dns-node-cache:1.25.0"}
	nginxNames     = []string{"docker.io/library/nginx:1.28.2-alpine"}
	busyboxNames   = []string{"docker.io/library/busybox:lab"} // not Kubespray's: for test pods
)

// Images are the names of the images in ControlPlaneImages and NodeImages.
func Images(kubernetes string) (controlPlane, node []string) {
	for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		controlPlane = append(controlPlane, kubernetesName(program, kubernetes))
	}
	node = slices.Concat([]string{kubernetesName("kube-proxy", kubernetes)}, pauseNames, coreDNSNames, nodeCacheNames, nginxNames, busyboxNames)
	return controlPlane, node
}

func kubernetesName(program, version string) string {
	return "registry.k8s.io/" + program + ":" + version
}

// image is one image of an archive.
type image struct {
	names      []string
	entrypoint []string
	command    []string
	user       string
	files      layer
}

// layer is the content of an image: paths without a leading slash.
type layer map[string]entry

// entry is one file of a layer: a folder if its mode says so, a link if it has
// a target, else the file at source or, without one, the content.
type entry struct {
	mode    fs.FileMode
	target  string
	source  string
	content string
}

// controlPlaneImages returns the archive of the images that only control planes
// run.
func controlPlaneImages(ctx context.Context, version, programs, system string) (string, error) {
	return imageArchive(ctx, "images-control-plane-"+version, []string{programs, system}, func() ([]image, error) {
		var images []image
		for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
			files := base(system)
			files["usr/local/bin/"+program] = entry{mode: 0o755, source: filepath.Join(programs, program)}
			images = append(images, image{names: []string{kubernetesName(program, version)}, files: files})
		}
		return images, nil
	})
}

// kubeProxyImage returns the archive of kube-proxy's image: besides the program
// it has the commands that kube-proxy runs. iptables is the variant on nf_tables, as it is on the
// nodes: the two variants do not see each other's rules.
func kubeProxyImage(ctx context.Context, version, programs, system string) (string, error) {
	return imageArchive(ctx, "image-kube-proxy-"+version, []string{programs, system}, func() ([]image, error) {
		files := base(system)
		files["usr/local/bin/kube-proxy"] = entry{mode: 0o755, source: filepath.Join(programs, "kube-proxy")}
		for _, command := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
			files["usr/sbin/"+command] = entry{target: "xtables-nft-multi"}
		}
		files["usr/sbin/modprobe"] = entry{target: "../bin/kmod"}
		need := []string{"usr/sbin/xtables-nft-multi", "usr/sbin/conntrack", "usr/sbin/ipset", "usr/sbin/nft", "usr/bin/kmod"}
		extensions, err := filepath.Glob(filepath.Join(system, "usr/lib/*/xtables/*.so"))
		if err != nil {
			return nil, err
		}
		for _, extension := range extensions {
			need = append(need, strings.TrimPrefix(extension, system+"/"))
		}
		if err := files.add(need, system); err != nil {
			return nil, err
		}
		return []image{{names: []string{kubernetesName("kube-proxy", version)}, files: files}}, nil
	})
}

// nodeImages returns the archive of the images that are the same for every
// version of Kubernetes.
func nodeImages(ctx context.Context, repo, coreDNSPrograms, system, packages string) (string, error) {
	return imageArchive(ctx, "images-node", []string{pauseSource, coreDNSPrograms, system, packages}, func() ([]image, error) {
		pause, err := os.MkdirTemp("", "pause-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(pause)
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", pause+"/", "./tests/lab/component/pause")
		build.Dir = repo
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if _, err := output(build); err != nil {
			return nil, err
		}
		content, err := os.ReadFile(filepath.Join(pause, "pause"))
		if err != nil {
			return nil, err
		}

		dns := base(system)
		dns["coredns"] = entry{mode: 0o755, source: filepath.Join(coreDNSPrograms, "coredns")}
		dns["node-cache"] = entry{target: "coredns"}

		nginx := base(system)
		const module = "usr/lib/nginx/modules/ngx_stream_module.so"
		if err := nginx.add([]string{"usr/sbin/nginx", module}, packages, system); err != nil {
			return nil, err
		}
		nginx["var/lib/nginx"] = entry{mode: fs.ModeDir | 0o755}
		nginx["var/log/nginx"] = entry{mode: fs.ModeDir | 0o755}

		busybox, err := busyboxFiles(ctx, system, packages)
		if err != nil {
			return nil, err
		}
		return []image{
			{names: pauseNames, entrypoint: []string{"/pause"}, user: "65535:65535", files: layer{"pause": {mode: 0o755, content: string(content)}}},
			{names: slices.Concat(coreDNSNames, nodeCacheNames), entrypoint: []string{"/coredns"}, files: dns},
			// Kubespray's nginx.conf has a stream block and knows nothing of modules.
			{names: nginxNames, entrypoint: []string{"nginx", "-g", "daemon off; load_module /" + module + ";"}, files: nginx},
			{names: busyboxNames, command: []string{"sh"}, files: busybox},
		}, nil
	})
}

func busyboxFiles(ctx context.Context, system, packages string) (layer, error) {
	files := base(system)
	program, err := inRoot(packages, "bin/busybox")
	if err != nil {
		return nil, err
	}
	files["usr/bin/busybox"] = entry{mode: 0o755, source: program}
	applets, err := run(ctx, program, "--list")
	if err != nil {
		return nil, err
	}
	for applet := range strings.FieldsSeq(applets) {
		if applet != "busybox" {
			files["usr/bin/"+applet] = entry{target: "busybox"}
		}
	}
	return files, nil
}

// base is what a distroless image has: users, certificate authorities, and
// folders that a process expects.
func base(system string) layer {
	return layer{
		"bin":                               {target: "usr/bin"},
		"lib":                               {target: "usr/lib"},
		"lib64":                             {target: "usr/lib64"},
		"sbin":                              {target: "usr/sbin"},
		"etc/group":                         {mode: 0o644, content: "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"},
		"etc/nsswitch.conf":                 {mode: 0o644, content: "hosts: files dns\n"},
		"etc/passwd":                        {mode: 0o644, content: "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/nonexistent:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"},
		"etc/ssl/certs/ca-certificates.crt": {mode: 0o644, source: filepath.Join(system, "etc/ssl/certs/ca-certificates.crt")},
		"root":                              {mode: fs.ModeDir | 0o700},
		"run":                               {mode: fs.ModeDir | 0o755},
		"tmp":                               {mode: fs.ModeDir | fs.ModeSticky | 0o777},
		"usr/bin":                           {mode: fs.ModeDir | 0o755},
		"usr/lib":                           {mode: fs.ModeDir | 0o755},
		"usr/lib64":                         {mode: fs.ModeDir | 0o755},
		"usr/sbin":                          {mode: fs.ModeDir | 0o755},
		"var/run":                           {target: "../run"},
	}
}

// add puts programs or libraries into a layer, with the libraries that they
// need, each from the first of the trees that has it.
func (l layer) add(programs []string, trees ...string) error {
	files, err := withLibraries(programs, trees)
	if err != nil {
		return err
	}
	for target, source := range files {
		l[target] = entry{mode: 0o755, source: source}
	}
	return nil
}

// tar is the layer as an archive, the same for the same content.
func (l layer) tar() ([]byte, error) {
	all := maps.Clone(l)
	for file := range l {
		for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
			if _, ok := all[dir]; !ok {
				all[dir] = entry{mode: fs.ModeDir | 0o755}
			}
		}
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, file := range slices.Sorted(maps.Keys(all)) { // folders before what they hold
		e := all[file]
		header := tar.Header{Name: file, Mode: int64(e.mode.Perm()), Typeflag: tar.TypeReg}
		if e.mode&fs.ModeSticky != 0 {
			header.Mode |= 0o1000
		}
		content := []byte(e.content)
		switch {
		case e.mode.IsDir():
			header.Typeflag = tar.TypeDir
			header.Name += "/"
		case e.target != "":
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.target, 0o777
		case e.source != "":
			var err error
			if content, err = os.ReadFile(e.source); err != nil {
				return nil, err
			}
		}
		header.Size = int64(len(content))
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// build is the image as the registry's library has it.
func (i image) build() (v1.Image, error) {
	content, err := i.files.tar()
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(content, types.DockerUncompressedLayer))
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Entrypoint: i.entrypoint,
		Cmd:        i.command,
		User:       i.user,
		WorkingDir: "/",
	}
	return mutate.ConfigFile(img, config)
}

// imageArchive returns the cached docker archive of some images.
func imageArchive(ctx context.Context, title string, recipe []string, images func() ([]image, error)) (string, error) {
	const archive = "images.tar"
	recipe = append(recipe, imagesSource, librariesSource)
	dir, err := cache.Entry(ctx, title+"-"+runtime.GOARCH, recipe, func(dir string) error {
		all, err := images()
		if err != nil {
			return err
		}
		byName := map[name.Reference]v1.Image{}
		for _, i := range all {
			built, err := i.build()
			if err != nil {
				return fmt.Errorf("image %s: %w", i.names[0], err)
			}
			for _, n := range i.names {
				tag, err := name.NewTag(n)
				if err != nil {
					return err
				}
				byName[tag] = built
			}
		}
		return tarball.MultiRefWriteToFile(filepath.Join(dir, archive), byName)
	})
	return filepath.Join(dir, archive), err
}
