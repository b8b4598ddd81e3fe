package component

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/tests/cache"
)

// systemSource stands for the recipe: whoever changes this file gets another
// system.
//
//go:embed system.go
var systemSource string

// systemPackages are on every node besides Debian's essential ones. They are
// what Kubernetes and Kubespray ask for, and what a node's administrator has.
var systemPackages = []string{
	"systemd", "systemd-sysv", "dbus", "mount", "util-linux", "kmod", "procps", "e2fsprogs",
	"iproute2", "iputils-ping", "iptables", "nftables", "conntrack", "ebtables", "ipset", "ethtool", "socat",
	"runc", "openssh-server", "sudo", "python3", "python3-apt",
	"ca-certificates", "curl", "jq", "openssl", "rsync", "unzip",
}

// masked are units that make no sense in a lab, or only cost time at boot.
var masked = []string{
	"apt-daily.service", "apt-daily.timer", "apt-daily-upgrade.service", "apt-daily-upgrade.timer",
	"console-getty.service", "container-getty@.service", "getty.target", "getty@.service", "getty-static.service", "serial-getty@.service",
	"dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "systemd-tmpfiles-clean.timer",
	"ldconfig.service", "nftables.service", "systemd-firstboot.service", "systemd-hwdb-update.service", "systemd-journal-catalog-update.service",
	"systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service", "systemd-pcrphase.service", "systemd-pcrphase-sysinit.service",
	"systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "tmp.mount",
}

// systemFiles are laid over what the packages brought. A name that ends in "/"
// is a folder.
var systemFiles = map[string]string{
	// Empty, so that every node gets an ID of its own at boot without taking
	// the boot for the first one.
	"etc/machine-id": "",
	"etc/hosts":      "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
	// Every node makes host keys of its own, before sshd checks that it has some.
	"etc/systemd/system/ssh.service.d/host-keys.conf": "[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n",
	"etc/systemd/journald.conf.d/lab.conf":            "[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n",
	"etc/ssh/sshd_config.d/lab.conf":                  "PasswordAuthentication no\n",
	"etc/apt/sources.list":                            "deb " + defaultMirror + " " + release + " main\n",
}

// unwanted is what debootstrap copied from the host, and what a node does not
// read.
var unwanted = []string{
	"etc/hostname", "etc/resolv.conf", "etc/ssh/ssh_host_*", "var/lib/dbus/machine-id",
	"var/cache/apt/*.bin", "var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "var/log/*.log", "var/log/apt",
	"usr/share/doc/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/man/*",
}

// system returns the tree of a node's operating system, with Debian's own users
// alone.
func system(ctx context.Context) (string, error) {
	name := strings.Join([]string{"system", release, runtime.GOARCH}, "-")
	return cache.Entry(ctx, name, []string{systemSource}, func(dir string) error {
		if err := debootstrap(ctx, dir, "--include="+strings.Join(systemPackages, ",")); err != nil {
			return err
		}
		return finish(dir)
	})
}

// finish does the last edits of a system's tree.
func finish(dir string) error {
	for _, pattern := range unwanted {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	for name, content := range systemFiles {
		path := filepath.Join(dir, name)
		if err := makeFolders(filepath.Dir(path)); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
	}
	links := map[string]string{"default.target": "/usr/lib/systemd/system/multi-user.target"}
	for _, unit := range masked {
		links[unit] = "/dev/null"
	}
	for unit, target := range links {
		path := filepath.Join(dir, "etc/systemd/system", unit)
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
	}
	// As new as /usr: nothing is to be brought up to date at boot.
	info, err := os.Stat(filepath.Join(dir, "usr"))
	if err != nil {
		return err
	}
	for _, name := range []string{"etc/.updated", "var/.updated"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
		if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o755)
}
