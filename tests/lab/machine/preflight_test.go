package machine

import (
	"os"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/tests/ordinaryuser"
)

// Without root a lab refuses in one line that says what to do.
func TestPreflightNeedsRoot(t *testing.T) {
	if ordinaryuser.Again(t) {
		return
	}
	err := Preflight(t.TempDir(), 2)
	if err == nil || !strings.Contains(err.Error(), "needs root") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Preflight says %v", err)
	}
	if _, err := Start(t.Context(), "refused", t.TempDir()+"/lab", true); err == nil {
		t.Error("a lab started without root")
	}
}

// What the machine lacks is named in one line, with the packages that have it.
func TestPreflightNamesWhatIsMissing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: root is refused first")
	}
	t.Setenv("PATH", t.TempDir())
	err := Preflight(t.TempDir(), 2)
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Fatalf("Preflight says %v", err)
	}
	for _, want := range []string{"systemd-nspawn (Debian package systemd-container)", "mkfs.ext4 (Debian package e2fsprogs)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Preflight does not name %s: %v", want, err)
		}
	}
}

// A lab that this machine has no room for is refused before it fails half-way.
func TestPreflightCountsNodes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: root is refused first")
	}
	err := Preflight(t.TempDir(), 10000)
	if err == nil {
		t.Fatal("10000 nodes have room here")
	}
	for _, want := range []string{"memory: ", "disk: ", "inotify instances: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Preflight does not name %s: %v", want, err)
		}
	}
}

// What labs that have ended left is taken away; one that is coming up stays.
func TestSweepDead(t *testing.T) {
	dir := t.TempDir()
	for name, pid := range map[string]string{"dead": "999999999 1", "coming": ""} {
		if err := os.Mkdir(dir+"/"+name, 0o700); err != nil {
			t.Fatal(err)
		}
		if pid != "" {
			if err := os.WriteFile(dir+"/"+name+"/pid", []byte(pid), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	swept, err := SweepDead(dir)
	if err != nil || len(swept) != 1 || swept[0] != "dead" {
		t.Errorf("swept %v, %v", swept, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "coming" {
		t.Errorf("%v is left, %v", left, err)
	}
}

// A name that leads elsewhere is refused before anything is removed.
func TestCheckName(t *testing.T) {
	for _, name := range []string{"", "..", "../lab", "a/b", "Lab", "1lab", "lab.cp1", "averylongname"} {
		if CheckName(name) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
	for _, name := range []string{"lab", "e2esmall", "a1"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
}
