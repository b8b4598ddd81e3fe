package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

func TestLayers(t *testing.T) {
	const snapshots = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/"
	tests := map[string]struct {
		mounts string
		want   []string
	}{
		"one": {"812 700 0:90 / / rw,relatime - overlay overlay rw,lowerdir=" + snapshots + "14/fs,upperdir=" + snapshots + "16/fs,workdir=" + snapshots + "16/work,uuid=on\n" +
			"813 812 0:93 / /proc rw,nosuid - proc proc rw\n", []string{snapshots + "14/fs"}},
		"several":                {"1 0 0:9 / / rw - overlay overlay rw,lowerdir=/a:/b,upperdir=/c\n", []string{"/a", "/b"}},
		"one by one":             {"1 0 0:9 / / rw - overlay overlay rw,lowerdir+=/a,lowerdir+=/b,upperdir=/c\n", []string{"/a", "/b"}},
		"of another mount":       {"1 0 0:9 / /host rw - overlay overlay rw,lowerdir=/a\n2 0 8:1 / / rw - ext4 /dev/sda1 rw\n", nil},
		"not what it looks like": {"\n1 0\n - overlay\n", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := layers(tt.mounts); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPersist(t *testing.T) {
	live, err := host.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if err := persist(live); err != nil {
		t.Errorf("this program: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := persist(other); err == nil {
		t.Error("a program that is not on the node is on its disk")
	}
}
