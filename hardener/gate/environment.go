package gate

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// environment is what the files on disk say now; of two that set a variable the
// later counts (systemd.exec(5), EnvironmentFile=).
func environment(fsys fs.FS, c node.Component) (map[string]string, error) {
	env := map[string]string{}
	for _, file := range c.EnvFiles {
		data, err := fs.ReadFile(fsys, node.Name(file))
		if err != nil {
			return nil, err
		}
		maps.Copy(env, node.ParseEnvFile(data))
	}
	if len(env) == 0 {
		return nil, errors.New("it has no environment file")
	}
	return env, nil
}

// environmentInForce looks whether the process has every ETCD_* value of the
// files. It is read when a process starts, so that a difference stays.
func environmentInForce(fsys fs.FS, c node.Component, pid int) error {
	want, err := environment(fsys, c)
	if err != nil {
		return err
	}
	have, err := processEnvironment(fsys, pid, want)
	if err != nil {
		return err
	}
	var differ []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if strings.HasPrefix(name, "ETCD_") && have[name] != want[name] {
			differ = append(differ, name)
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("process %d does not have what %s say: %s", pid, strings.Join(c.EnvFiles, " and "), strings.Join(differ, ", "))
	}
	return nil
}

// processEnvironment is that of the main process, or, when that only starts a
// container (Kubespray's deployment type docker), of the etcd with the same data
// directory.
func processEnvironment(fsys fs.FS, pid int, want map[string]string) (map[string]string, error) {
	read := func(pid string) (map[string]string, bool, error) {
		comm, err := fs.ReadFile(fsys, "proc/"+pid+"/comm")
		if err != nil {
			return nil, false, err
		}
		data, err := fs.ReadFile(fsys, "proc/"+pid+"/environ")
		env := map[string]string{}
		for _, e := range strings.Split(string(data), "\x00") {
			if name, value, ok := strings.Cut(e, "="); ok {
				env[name] = value
			}
		}
		return env, strings.TrimSpace(string(comm)) == "etcd", err
	}
	env, isEtcd, err := read(strconv.Itoa(pid))
	if err != nil || isEtcd {
		return env, err
	}
	entries, err := fs.ReadDir(fsys, "proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if env, isEtcd, err := read(e.Name()); err == nil && isEtcd && env["ETCD_DATA_DIR"] == want["ETCD_DATA_DIR"] && env["ETCD_NAME"] == want["ETCD_NAME"] {
			return env, nil
		}
	}
	return nil, fmt.Errorf("no etcd process has the data directory %s", want["ETCD_DATA_DIR"])
}
