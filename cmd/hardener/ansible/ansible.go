// Package ansible runs ansible-inventory, the only program that hardener starts, and
// only where a person keeps an inventory: never on behalf of a node. What its output
// means is package inventory's.
package ansible

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const program = "ansible-inventory"

// Inventory is what ansible-inventory --list prints of an inventory, a file or a
// directory. groups is an inventory in INI form with groups that must be known, so
// that their group_vars are read.
func Inventory(ctx context.Context, path, groups string) ([]byte, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	dir, err := os.MkdirTemp("", "hardener-inventory-")
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	defer os.RemoveAll(dir)
	known := filepath.Join(dir, "groups.ini")
	if err := os.WriteFile(known, []byte(groups), 0o600); err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	args := []string{"--list", "-i", known, "-i", path}
	// Of a directory Ansible leaves out what ends in .ini (INVENTORY_IGNORE_EXTS), which
	// is how Kubespray's own sample of an inventory ends.
	left, _ := filepath.Glob(filepath.Join(path, "*.ini"))
	for _, file := range left {
		args = append(args, "-i", file)
	}
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), "ANSIBLE_NOCOLOR=1", "ANSIBLE_DEPRECATION_WARNINGS=False", "ANSIBLE_INVENTORY_UNPARSED_FAILED=True")
	var out, told bytes.Buffer
	c.Stdout, c.Stderr = &out, &told
	err = c.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("inventory: %s is not installed here", program)
	case err != nil:
		return nil, fmt.Errorf("inventory: %s: %w: %s", program, err, lastError(told.String()))
	}
	return out.Bytes(), nil
}

// lastError is the line in which Ansible says what was wrong.
func lastError(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.Contains(lines[i], "ERROR") {
			return lines[i]
		}
	}
	return lines[len(lines)-1]
}
