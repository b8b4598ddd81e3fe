//go:build e2e

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is an image file and a process in whose mount namespace, and only there,
// it is mounted: the kernel unmounts it when that process ends.
type disk struct {
	image  string
	holder *exec.Cmd
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root: mounts a disk")
	}
	d := &disk{image: filepath.Join(t.TempDir(), "disk")}
	if err := CreateDisk(t.Context(), d.image, 256<<20); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.unmount(t) })
	return d
}

// mount mounts the disk and returns where.
func (d *disk) mount(t *testing.T) string {
	t.Helper()
	d.holder = exec.Command("/bin/sh", "-ec", `mount --make-rprivate /; mount -t tmpfs none /mnt; mount -o loop "$0" /mnt; echo up; read -r _`, d.image)
	d.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	d.holder.Stderr = os.Stderr
	in, err := d.holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	out, err := d.holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.holder.Start(); err != nil {
		t.Fatal(err)
	}
	if n, err := out.Read(make([]byte, 3)); n != 3 {
		t.Fatalf("mount %s: %v", d.image, err)
	}
	return fmt.Sprintf("/proc/%d/root/mnt", d.holder.Process.Pid)
}

func (d *disk) unmount(t *testing.T) {
	t.Helper()
	if d.holder != nil {
		_ = d.holder.Process.Kill()
		_ = d.holder.Wait()
	}
	if err := waitFor(context.Background(), 10*time.Second, func() bool { return !loopHolds(d.image) }); err != nil {
		t.Errorf("a loop device holds %s: %v", d.image, err)
	}
}

// write writes a file and, if asked, sees to it that it is on the disk.
func write(t *testing.T, name, text string, sync bool) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPowerCutKeepsOnlyWhatWasSynced(t *testing.T) {
	d := newDisk(t)
	dir := d.mount(t)
	write(t, dir+"/synced", "good", true)
	write(t, dir+"/lost", "gone", false)
	if err := PowerCut(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/after", nil, 0o600); err == nil {
		t.Error("a file system without power takes a file")
	}
	d.unmount(t)
	dir = d.mount(t)
	if text, err := os.ReadFile(dir + "/synced"); err != nil || string(text) != "good" {
		t.Errorf("synced file after the power cut: %q, %v", text, err)
	}
	if text, err := os.ReadFile(dir + "/lost"); err == nil && len(text) > 0 {
		t.Errorf("file that was not synced after the power cut: %q", text)
	}
}

func TestCopyDiskIsSparseAndEqual(t *testing.T) {
	d := newDisk(t)
	dir := d.mount(t)
	write(t, dir+"/file", strings.Repeat("0123456789abcdef", 4<<20), true)
	d.unmount(t)
	dst := d.image + ".copy"
	began := time.Now()
	if err := CopyDisk(dst, d.image); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if out, err := exec.Command("cmp", d.image, dst).CombinedOutput(); err != nil {
		t.Errorf("the copy differs: %s", out)
	}
	var src, copied unix.Stat_t
	if err := errors.Join(unix.Stat(d.image, &src), unix.Stat(dst, &copied)); err != nil {
		t.Fatal(err)
	}
	t.Logf("copied %d MiB of a %d MiB disk in %s", src.Blocks/2048, src.Size>>20, took)
	if copied.Blocks > src.Blocks+256 {
		t.Errorf("the copy has %d blocks, the disk %d", copied.Blocks, src.Blocks)
	}
}

func TestFill(t *testing.T) {
	d := newDisk(t)
	dir := d.mount(t)
	block := make([]byte, 64<<10)
	fits := func(bytes int) error {
		name := dir + "/probe"
		defer os.Remove(name)
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer f.Close()
		for n := 0; n < bytes && err == nil; n += len(block) {
			_, err = f.Write(block[:min(len(block), bytes-n)])
		}
		return errors.Join(err, f.Sync())
	}
	undo, err := Fill(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := fits(4096); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("one block on a full disk: %v", err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if undo, err = Fill(dir, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := fits(7 << 20); err != nil {
		t.Errorf("7 MiB into 8: %v", err)
	}
	if err := fits(9 << 20); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("9 MiB into 8: %v", err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if err := fits(64 << 20); err != nil {
		t.Errorf("after the undo: %v", err)
	}
	var image unix.Stat_t
	if err := unix.Stat(d.image, &image); err != nil {
		t.Fatal(err)
	}
	if image.Blocks*512 > 128<<20 {
		t.Errorf("the image takes %d MiB", image.Blocks/2048)
	}
}

func TestReadOnly(t *testing.T) {
	d := newDisk(t)
	dir := d.mount(t)
	write(t, dir+"/file", "good", true)
	open, err := os.OpenFile(dir+"/file", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := ReadOnly(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := open.WriteString("bad"); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to an open file: %v", err)
	}
	if err := os.WriteFile(dir+"/new", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("new file: %v", err)
	}
	if text, err := os.ReadFile(dir + "/file"); err != nil || string(text) != "good" {
		t.Errorf("read: %q, %v", text, err)
	}
	open.Close()
	d.unmount(t)
	dir = d.mount(t)
	write(t, dir+"/new", "good", true)
}

func TestSlow(t *testing.T) {
	d := newDisk(t)
	dir := d.mount(t)
	group := filepath.Join(cgroupRoot, "blkio", "kubespray-hardener-test-"+strconv.Itoa(os.Getpid()))
	service := filepath.Join(group, "service")
	if err := os.MkdirAll(service, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeCgroup(group); err != nil {
			t.Error(err)
		}
	})

	// The median time of an fdatasync, measured by a thread that is in the cgroup
	// for so long.
	latency := func(cgroup string) time.Duration {
		t.Helper()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid := strconv.Itoa(unix.Gettid())
		if err := writeFile(filepath.Join(cgroup, "tasks"), tid); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := writeFile(filepath.Join(cgroupRoot, "blkio", "tasks"), tid); err != nil {
				t.Error(err)
			}
		}()
		f, err := os.Create(filepath.Join(dir, "wal"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var times []time.Duration
		for i := range 9 {
			if _, err := f.WriteAt(make([]byte, 2048), int64(i)*2048); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := unix.Fdatasync(int(f.Fd())); err != nil {
				t.Fatal(err)
			}
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		return times[len(times)/2]
	}

	before := latency(service)
	undo, err := Slow(dir, Throttle{WriteIOPS: 10}, group)
	if err != nil {
		t.Fatal(err)
	}
	slow := latency(service)
	later := filepath.Join(group, "later")
	if err := os.Mkdir(later, 0o755); err != nil {
		t.Fatal(err)
	}
	var inLater time.Duration
	err = waitFor(t.Context(), 20*time.Second, func() bool {
		text, err := os.ReadFile(later + "/blkio.throttle.write_iops_device")
		return err == nil && len(text) > 0
	})
	if err != nil {
		t.Errorf("a cgroup that came later is not throttled: %v", err)
	} else {
		inLater = latency(later)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	after := latency(service)
	t.Logf("median fdatasync: before %s, at 10 writes a second %s, in a cgroup that came later %s, after %s", before, slow, inLater, after)
	if slow < 80*time.Millisecond || inLater < 80*time.Millisecond || after > slow/2 {
		t.Error("that is not what 10 writes a second take")
	}
	for _, g := range []string{group, service, later} {
		if text, err := os.ReadFile(g + "/blkio.throttle.write_iops_device"); err != nil || len(text) > 0 {
			t.Errorf("%s after the undo: %q, %v", g, text, err)
		}
	}
	if _, err := Slow(dir, Throttle{WriteIOPS: 1}, group+"-none"); err == nil {
		t.Error("a cgroup that is not there passes for slow")
	}
}
