package images

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Platforms are those that the image is made for, unless fewer are wanted.
func Platforms() []string { return []string{"linux/amd64", "linux/arm64"} }

var machines = map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}

// Program is the program compiled for one platform, such as "linux/amd64".
type Program struct {
	Platform string
	Binary   []byte
}

// info is what the Go toolchain recorded in the program, which has to be one
// that a bare image on that platform can run.
func (p Program) info() (*buildinfo.BuildInfo, error) {
	machine, ok := machines[p.Platform]
	if !ok {
		return nil, fmt.Errorf("unknown platform: there are %s", strings.Join(Platforms(), ", "))
	}
	file, err := elf.NewFile(bytes.NewReader(p.Binary))
	if err != nil {
		return nil, fmt.Errorf("no ELF program: %w", err)
	}
	if file.Machine != machine {
		return nil, fmt.Errorf("program is for %s", file.Machine)
	}
	if slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return nil, errors.New("program is linked dynamically, and the image has no libraries")
	}
	info, err := buildinfo.Read(bytes.NewReader(p.Binary))
	if err != nil {
		return nil, fmt.Errorf("no Go program: %w", err)
	}
	return info, nil
}
