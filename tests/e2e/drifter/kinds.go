package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// change makes the node worse in one way, for one check or a few.
type change struct {
	kind  string
	path  string // what is changed
	words string // by which a line of the log and an Event name it
	make  func() (since time.Time, err error)
	undo  func() error
	// prepare does what is not worse yet, and finish takes that back; nil for nothing.
	prepare, finish func() error
}

// now is the moment right after a system call that makes a change.
func now(err error) (time.Time, error) { return time.Now(), err }

const (
	manifests   = "/etc/kubernetes/manifests/"
	pki         = "/etc/kubernetes/ssl"
	kubeletConf = "/etc/kubernetes/kubelet-config.yaml"
	kubeletEnv  = "/etc/kubernetes/kubelet.env"
)

// judged are files whose mode and owner checks judge, and which may be replaced: no
// process reads them again, or it reads the same. The content of a manifest stays
// alone, and so does its inode: the kubelet looks at it.
var (
	replaceable = []string{
		"/etc/kubernetes/admin.conf", "/etc/kubernetes/scheduler.conf", "/etc/kubernetes/controller-manager.conf",
		"/etc/kubernetes/kubelet.conf", kubeletConf, "/etc/systemd/system/kubelet.service",
		pki + "/apiserver.key", pki + "/front-proxy-client.key", pki + "/sa.key", pki + "/apiserver.crt", pki + "/ca.crt",
	}
	judged = append([]string{
		manifests + "kube-apiserver.yaml", manifests + "kube-controller-manager.yaml", manifests + "kube-scheduler.yaml",
	}, replaceable...)
)

// kinds are all ways, each with its variants.
func kinds() map[string][]change {
	all := map[string][]change{}
	add := func(c change) { all[c.kind] = append(all[c.kind], c) }
	for _, path := range judged {
		add(mode(path, 0o666))
		add(owner(path, 1000))
	}
	add(mode("/var/lib/etcd", 0o755))
	for _, path := range replaceable {
		add(replaced(path, 0o666))
	}
	add(created(pki+"/new.key", file{mode: 0o666}))
	add(created(pki+"/new.crt", file{mode: 0o666}))
	add(created(pki+"/new.txt", file{mode: 0o600, uid: 1000, gid: 1000}))
	for from, to := range map[string]string{
		"readOnlyPort: 0":                "readOnlyPort: 10255",
		"anonymous:\n    enabled: false": "anonymous:\n    enabled: true",
		"mode: Webhook":                  "mode: AlwaysAllow",
		"rotateCertificates: true":       "rotateCertificates: false",
		"resolvConf:":                    "makeIPTablesUtilChains: false\nresolvConf:",
		"clusterDomain:":                 "streamingConnectionIdleTimeout: 0s\nclusterDomain:",
	} {
		add(edited(kubeletConf, from, to))
	}
	// Not admin.conf: with super-admin.conf beside it nothing is worse without.
	for _, path := range []string{"/etc/kubernetes/scheduler.conf", "/etc/kubernetes/controller-manager.conf"} {
		add(removed(path))
	}
	for _, name := range []string{"apiserver.key", "apiserver.crt"} {
		add(directory(pki, name))
		add(retargeted(pki, name))
	}
	add(restarted("--rotate-certificates=false", "4.2.10"))
	add(restarted("--streaming-connection-idle-timeout=0s", "4.2.5"))
	return all
}

// mode gives a file more rights than it had.
func mode(path string, bad fs.FileMode) change {
	before := stat(path)
	return change{
		kind: "mode", path: path, words: path,
		make: func() (time.Time, error) { return now(os.Chmod(path, bad)) },
		undo: func() error { return os.Chmod(path, before.mode) },
	}
}

// owner gives a file to somebody else.
func owner(path string, to int) change {
	before := stat(path)
	return change{
		kind: "owner", path: path, words: path,
		make: func() (time.Time, error) { return now(os.Lchown(path, to, to)) },
		undo: func() error { return os.Lchown(path, before.uid, before.gid) },
	}
}

// created makes a file that was not there.
func created(path string, f file) change {
	return change{
		kind: "created", path: path, words: path,
		make: func() (time.Time, error) { return now(lay(path, f)) },
		undo: func() error { return os.Remove(path) },
	}
}

// replaced renames another file over one, as careful programs write.
func replaced(path string, bad fs.FileMode) change {
	before := stat(path)
	worse := before
	worse.mode = bad
	return change{
		kind: "replaced", path: path, words: path,
		make: func() (time.Time, error) { return now(rename(path, worse)) },
		undo: func() error { return rename(path, before) },
	}
}

// edited writes into a file where it lies, as careless programs do.
func edited(path, from, to string) change {
	before := stat(path)
	return change{
		kind: "edited", path: path, words: path,
		make: func() (time.Time, error) {
			after := bytes.Replace(before.content, []byte(from), []byte(to), 1)
			if bytes.Equal(after, before.content) {
				return now(fmt.Errorf("%s: no %q", path, from))
			}
			return now(os.WriteFile(path, after, 0))
		},
		undo: func() error { return os.WriteFile(path, before.content, 0) },
	}
}

// removed removes a file.
func removed(path string) change {
	before := stat(path)
	return change{
		kind: "removed", path: path, words: path,
		make: func() (time.Time, error) { return now(os.Remove(path)) },
		undo: func() error { return lay(path, before) },
	}
}

// directory puts a copy of a directory in its place, in which one file has a bad
// mode.
func directory(path, name string) change {
	was, copied := path+".was", path+".copy"
	return change{
		kind: "directory", path: path, words: path,
		prepare: func() error { return copyDir(path, copied, name) },
		make:    func() (time.Time, error) { return now(errors.Join(os.Rename(path, was), os.Rename(copied, path))) },
		undo:    func() error { return errors.Join(os.Rename(path, copied), os.Rename(was, path)) },
		finish:  func() error { return os.RemoveAll(copied) },
	}
}

// retargeted leads a link to such a copy: the directory itself becomes a link first,
// as Kubespray's /etc/kubernetes/pki leads only to where the certificates are that are
// in use, and these are judged.
func retargeted(path, name string) change {
	real, copied, next := path+".real", path+".copy", path+".next"
	lead := func(to string) error { return errors.Join(os.Symlink(to, next), os.Rename(next, path)) }
	return change{
		kind: "link", path: path, words: path,
		prepare: func() error {
			return errors.Join(copyDir(path, copied, name), os.Rename(path, real), os.Symlink(real, path))
		},
		make:   func() (time.Time, error) { return now(lead(copied)) },
		undo:   func() error { return lead(real) },
		finish: func() error { return errors.Join(os.Remove(path), os.Rename(real, path), os.RemoveAll(copied)) },
	}
}

// restarted restarts the kubelet with another flag. The restart is systemd's affair:
// what counts is the time from the start of the new process.
func restarted(flag, check string) change {
	before := stat(kubeletEnv)
	const none = `KUBELET_CLOUDPROVIDER=""`
	with := func(f file) (time.Time, error) {
		old := kubelet()
		if err := rename(kubeletEnv, f); err != nil {
			return now(err)
		}
		if out, err := exec.Command("systemctl", "restart", "--no-block", "kubelet").CombinedOutput(); err != nil {
			return now(fmt.Errorf("systemctl: %w: %s", err, out))
		}
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if pid := kubelet(); pid != "" && pid != old {
				return now(nil)
			}
		}
		return now(errors.New("the kubelet does not start"))
	}
	return change{
		kind: "restarted", path: kubeletEnv, words: check + " ",
		make: func() (time.Time, error) {
			after := before
			after.content = bytes.Replace(before.content, []byte(none), []byte(`KUBELET_CLOUDPROVIDER="`+flag+`"`), 1)
			return with(after)
		},
		undo: func() error { _, err := with(before); return err },
	}
}

// kubelet is the process that systemd has started, once it is the kubelet.
func kubelet() string {
	text, _ := os.ReadFile("/sys/fs/cgroup/systemd/system.slice/kubelet.service/cgroup.procs")
	for _, pid := range strings.Fields(string(text)) {
		if name, _ := os.ReadFile("/proc/" + pid + "/comm"); string(name) == "kubelet\n" {
			return pid
		}
	}
	return ""
}

// file is all of a file that matters here.
type file struct {
	mode     fs.FileMode
	uid, gid int
	content  []byte
}

// stat looks at a file, or at a directory. One that cannot be looked at has no
// content, and what is made of it fails.
func stat(path string) file {
	info, err := os.Stat(path)
	if err != nil {
		return file{}
	}
	f := file{mode: info.Mode().Perm(), uid: int(info.Sys().(*syscall.Stat_t).Uid), gid: int(info.Sys().(*syscall.Stat_t).Gid)}
	f.content, _ = os.ReadFile(path)
	return f
}

// lay makes a file. It has its mode from its first moment on.
func lay(path string, f file) error {
	defer syscall.Umask(syscall.Umask(0))
	err := os.WriteFile(path, f.content, f.mode)
	if err == nil && (f.uid != 0 || f.gid != 0) {
		err = os.Lchown(path, f.uid, f.gid)
	}
	return err
}

// rename renames a new file over one.
func rename(path string, f file) error {
	hidden := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	return errors.Join(lay(hidden, f), os.Rename(hidden, path))
}

// copyDir copies the files of a directory, one of them with a bad mode.
func copyDir(from, to, bad string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, stat(from).mode); err != nil {
		return err
	}
	for _, entry := range entries {
		f := stat(filepath.Join(from, entry.Name()))
		if entry.Name() == bad {
			f.mode = 0o666
		}
		if err := lay(filepath.Join(to, entry.Name()), f); err != nil {
			return err
		}
	}
	return nil
}
