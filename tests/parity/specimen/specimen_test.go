package specimen

import (
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
)

// TestRandomRepeats keeps the promise that a seed reproduces its node.
func TestRandomRepeats(t *testing.T) {
	for seed := range uint64(200) {
		if a, b := Random(seed), Random(seed); !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d: two different nodes", seed)
		}
	}
	if reflect.DeepEqual(Random(1).Files, Random(2).Files) {
		t.Error("seeds 1 and 2: the same files")
	}
}

// TestRandomVaries keeps the generator from losing what the checks look at.
func TestRandomVaries(t *testing.T) {
	seen := map[string]int{}
	const nodes = 300
	for seed := range uint64(nodes) {
		n := Random(seed)
		once := map[string]bool{}
		for _, f := range n.Files {
			switch {
			case f.Path == "/etc/kubernetes/pki" && f.Type == Link:
				once["pki link"] = true
			case f.Path == "/etc/kubernetes/pki" && f.Type == Folder:
				once["pki folder"] = true
			case f.Mode&0o7000 != 0 && f.Path != "/tmp":
				once["setuid, setgid or sticky"] = true
			case f.UID == 12345:
				once["unknown owner"] = true
			case f.Type == Link && f.Content == "../dangling":
				once["dangling link"] = true
			}
		}
		etcds := 0
		for _, p := range n.Processes {
			once[p.Comm] = true
			if p.Zombie {
				once["zombie"] = true
			}
			if p.Script {
				once["script"] = true
			}
			if p.Comm == "etcd" && len(p.Env) > 2 {
				once["etcd by environment"] = true
			}
			if p.Comm == "etcd" && len(p.Argv) > 3 {
				once["etcd by flags"] = true
			}
			if p.Comm == "etcd" {
				etcds++
			}
		}
		once["two etcd"] = etcds > 1
		for what, is := range once {
			if is {
				seen[what]++
			}
		}
	}
	for _, what := range []string{
		"pki link", "pki folder", "setuid, setgid or sticky", "unknown owner", "dangling link", "zombie", "script", "etcd by environment",
		"etcd by flags", "two etcd", "kube-apiserver", "kube-controller-manager", "kube-controllers", "kube-scheduler", "kubelet", "kube-proxy", "hyperkube",
	} {
		if n := seen[what]; n < nodes/100 || n == nodes {
			t.Errorf("%s: on %d of %d nodes", what, n, nodes)
		}
	}
}

func TestBuild(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: changes owners")
	}
	root := t.TempDir()
	n := Node{Files: []File{
		{Path: "/etc/a", Content: "x", Mode: 0o4640, UID: 7, GID: 8},
		{Path: "/etc/dir", Type: Folder, Mode: 0o1700, UID: 9},
		{Path: "/etc/link", Type: Link, Content: "/nowhere", UID: 5, GID: 6},
		{Path: "/etc/link/below", Content: "left out: it would lie behind a link"},
		{Path: "/etc/a/below", Content: "left out: a is a file"},
		{Path: "/etc/a", Content: "left out: it is there"},
		{Path: "/usr/local/bin/x", Mode: 0o755},
	}}
	if err := n.Build(root); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]syscall.Stat_t{
		"etc/a":                      {Mode: syscall.S_IFREG | 0o4640, Uid: 7, Gid: 8},
		"etc/dir":                    {Mode: syscall.S_IFDIR | 0o1700, Uid: 9},
		"etc/link":                   {Mode: syscall.S_IFLNK | 0o777, Uid: 5, Gid: 6},
		"etc":                        {Mode: syscall.S_IFDIR | 0o755},
		".cell/over/usr/local/bin/x": {Mode: syscall.S_IFREG | 0o755},
		".cell/over/usr/local/bin":   {Mode: syscall.S_IFDIR | 0o755},
	} {
		var got syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(root, path), &got); err != nil {
			t.Error(err)
			continue
		}
		if got.Mode != want.Mode || got.Uid != want.Uid || got.Gid != want.Gid {
			t.Errorf("%s: mode %o owner %d:%d, want %o %d:%d", path, got.Mode, got.Uid, got.Gid, want.Mode, want.Uid, want.Gid)
		}
	}
}
