//go:build linux

package txn

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// A watcher keeps what it knows of a node in a file of its own, in a folder of its
// own: it may be all of a node that it can write to, and what runs as root by what
// is in the state directory must not rest on it. It is no part of a run, so that it
// needs no lock: a node has one watcher.
const (
	memoryDir  = StateDir + "/watch"
	memoryName = "memory.json"
)

// SaveMemory replaces the watcher's memory on a node, atomically.
func SaveMemory(root *host.FS, data []byte) error {
	s := &Store{root: root, disk: disk{step: onStep}}
	dir, err := s.makePath(memoryDir)
	if err != nil {
		return fmt.Errorf("save memory: %w", err)
	}
	defer dir.Close()
	if err := s.private(dir); err != nil {
		return fmt.Errorf("save memory: %w", err)
	}
	if err := s.sweepTemps(dir, memoryName); err != nil {
		return fmt.Errorf("save memory: %w", err)
	}
	if err := s.disk.save(dir, memoryName, data); err != nil {
		return fmt.Errorf("save memory: %w", err)
	}
	return nil
}

// sweepTemps removes what a writer of a file that died has left beside it.
func (s *Store) sweepTemps(dir folder, name string) error {
	names, err := dir.names()
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, tempPrefix(name)) {
			if err := s.disk.unlink(dir, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// LoadMemory reads the watcher's memory on a node, nil where there is none.
func LoadMemory(root *host.FS) ([]byte, error) {
	b, err := load(root, memoryDir+"/"+memoryName)
	if err != nil {
		return nil, fmt.Errorf("load memory: %w", err)
	}
	return b, nil
}

// Report reads the report that a run has saved on a node, nil where there is none.
func Report(root *host.FS, run string) ([]byte, error) {
	if !validRunID(run) {
		return nil, fmt.Errorf("report of run %q: %w", run, ErrNoRun)
	}
	b, err := load(root, StateDir+"/runs/"+run+"/report.json")
	if err != nil {
		return nil, fmt.Errorf("report of run %s: %w", run, err)
	}
	return b, nil
}

// load reads a file, nil where there is none.
func load(root *host.FS, path string) ([]byte, error) {
	dir, base, err := parent(root, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.open(base, unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f.File, host.MaxFileSize))
}
