package fix

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// sysctlFile makes the kernel settings permanent. It sorts behind Kubespray's
// 99-sysctl.conf; of files that set the same value the last one wins.
const sysctlFile = "/etc/sysctl.d/99-zz-kubespray-hardener.conf"

// kernelDefaults are the values that the kubelet demands with
// protectKernelDefaults, all of them exactly (pkg/kubelet/cm
// setupKernelTunables).
var kernelDefaults = [...][2]string{
	{"vm.overcommit_memory", "1"},
	{"vm.panic_on_oom", "0"},
	{"kernel.panic", "10"},
	{"kernel.panic_on_oops", "1"},
	{"kernel.keys.root_maxkeys", "1000000"},
	{"kernel.keys.root_maxbytes", "25000000"},
}

func sysctlContent() []byte {
	var b strings.Builder
	b.WriteString("# Kernel settings that the kubelet requires with protectKernelDefaults.\n")
	for _, kv := range kernelDefaults {
		b.WriteString(kv[0] + " = " + kv[1] + "\n")
	}
	return []byte(b.String())
}

// persistKernel writes the sysctl file, unless the node already makes all the
// values permanent. Without it the kubelet starts now, because an earlier kubelet
// set the values, and not after the next reboot.
func persistKernel(c *attempt) error {
	if _, missing := persisted(c.tx); len(missing) == 0 {
		return nil
	}
	if err := c.tx.mkdir(path.Dir(sysctlFile), node.Kubelet, 0o755); err != nil {
		return err
	}
	return c.tx.write(sysctlFile, sysctlContent(), node.Kubelet, 0o644, false, "")
}

// kernelOverridden says what would undo the sysctl file: a file that is applied
// later, or a value in force now that differs.
func kernelOverridden(c *attempt) string {
	if late, _ := persisted(c.tx); late != "" {
		return late
	}
	for _, kv := range kernelDefaults {
		data, err := fs.ReadFile(c.tx.fsys, "proc/sys/"+strings.ReplaceAll(kv[0], ".", "/"))
		if v := strings.TrimSpace(string(data)); err == nil && v != kv[1] {
			return kv[0] + " is " + v + " now, not " + kv[1] + ": the kubelet would not start"
		}
	}
	return ""
}

// persisted reads the sysctl files in the order in which systemd-sysctl and
// `sysctl --system` apply them. late names a file behind ours that sets one of
// the values otherwise; missing are the settings that no file sets right.
func persisted(tx *workspace) (late string, missing []string) {
	files := map[string]string{} // by base name: /etc wins over /run over /usr
	for _, dir := range []string{"usr/lib/sysctl.d", "usr/local/lib/sysctl.d", "run/sysctl.d", "etc/sysctl.d"} {
		entries, err := fs.ReadDir(tx.fsys, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".conf") {
				files[e.Name()] = "/" + path.Join(dir, e.Name())
			}
		}
	}
	ours := path.Base(sysctlFile)
	order := sortedKeys(files)
	if _, ok := files["99-sysctl.conf"]; !ok && tx.exists("/etc/sysctl.conf") {
		// procps applies it last of all; systemd only through that link.
		order, files["/etc/sysctl.conf"] = append(order, "/etc/sysctl.conf"), "/etc/sysctl.conf"
	}
	values := map[string]string{}
	for _, base := range order {
		data, err := tx.read(files[base])
		if err != nil {
			continue
		}
		for key, value := range sysctls(data) {
			values[key] = value
			if base > ours || base == "/etc/sysctl.conf" {
				if want := kernelDefault(key); want != "" && want != value {
					late = files[base] + " sets " + key + " = " + value + " after our file would: the kubelet would not start"
				}
			}
		}
	}
	for _, kv := range kernelDefaults {
		if values[kv[0]] != kv[1] {
			missing = append(missing, kv[0])
		}
	}
	return late, missing
}

func kernelDefault(key string) string {
	i := slices.IndexFunc(kernelDefaults[:], func(kv [2]string) bool { return kv[0] == key })
	if i < 0 {
		return ""
	}
	return kernelDefaults[i][1]
}

func sysctls(data []byte) map[string]string {
	out := map[string]string{}
	for _, line := range strings.Split(string(data), "\n") {
		if comment(line) {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if ok {
			key = strings.TrimPrefix(strings.TrimSpace(key), "-")
			out[strings.ReplaceAll(key, "/", ".")] = strings.TrimSpace(value)
		}
	}
	return out
}
