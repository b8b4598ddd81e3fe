//go:build linux

package txn

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A journal is a file of records that only grows, one per line:
//
//	LENGTH CRC JSON\n
//
// LENGTH is the number of bytes of JSON, CRC its CRC-32C, both as eight
// hexadecimal digits. Records carry consecutive numbers. Every record is
// durable before what it announces is begun and before the next one is written,
// so a machine that dies can leave at most the last record cut short, and
// nothing that it announces has happened.

// recordType says what a record announces or states.
type recordType string

const (
	recordBegin    recordType = "begin"    // the run; always the first
	recordGroup    recordType = "group"    // a group of changes
	recordKeep     recordType = "keep"     // the groups so far are proven: a crash does not undo them any more
	recordUndo     recordType = "undo"     // the groups from Group on will be undone, kept ones too
	recordUndone   recordType = "undone"   // Group has been undone
	recordRollback recordType = "rollback" // a committed run will be undone
	recordEnd      recordType = "end"      // the run is finished, in State
)

type record struct {
	Seq     int        `json:"seq"`
	Type    recordType `json:"type"`
	Time    time.Time  `json:"time"`
	Run     *runHeader `json:"run,omitempty"`
	Group   int        `json:"group,omitempty"` // from 1
	Changes []change   `json:"changes,omitempty"`
	State   RunState   `json:"state,omitempty"`
	Force   bool       `json:"force,omitempty"`
	Left    []Left     `json:"left,omitempty"`
}

type runHeader struct {
	Format  int    `json:"format"` // journalFormat
	ID      string `json:"id"`
	Command string `json:"command,omitempty"`
	Phase   string `json:"phase,omitempty"`
	Version string `json:"version,omitempty"`
}

// journalFormat is raised when an older program could misread a journal.
const journalFormat = 1

// change is a Change as the journal has it.
type change struct {
	Kind      Kind      `json:"kind"`
	Path      string    `json:"path"`
	Component string    `json:"component,omitempty"`
	Checks    []string  `json:"checks,omitempty"`
	Before    fileState `json:"before"`
	After     fileState `json:"after"`
	Backup    string    `json:"backup,omitempty"` // in the run's backup directory
	Temp      string    `json:"temp,omitempty"`   // beside Path
}

// errDamaged is for a journal with a bad record that is not its last: not what
// a crash leaves, and not to be guessed at.
var errDamaged = errors.New("journal is damaged")

func crc(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// frame encodes a record as a line.
func frame(r record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %08x %s\n", len(body), crc(body), body), nil
}

// frameHead is the length of what stands before the JSON.
const frameHead = 8 + 1 + 8 + 1

// unframe takes the first line's JSON out of b. It gives false for anything
// that frame has not made.
func unframe(b []byte) (body []byte, size int, ok bool) {
	if len(b) <= frameHead || b[8] != ' ' || b[17] != ' ' {
		return nil, 0, false
	}
	n, err := strconv.ParseUint(string(b[:8]), 16, 32)
	if err != nil || n > uint64(len(b)-frameHead-1) {
		return nil, 0, false
	}
	sum, err := strconv.ParseUint(string(b[9:17]), 16, 32)
	if err != nil {
		return nil, 0, false
	}
	size = frameHead + int(n) + 1
	body = b[frameHead : size-1]
	if b[size-1] != '\n' || crc(body) != uint32(sum) {
		return nil, 0, false
	}
	return body, size, true
}

// readJournal folds a journal's records into a history. valid is the length in
// bytes of the records that are in it; what follows was cut short by a crash.
// The error is errDamaged's when what follows is something else; the history is
// that of the valid records even then.
func readJournal(b []byte) (h history, valid int, err error) {
	for valid < len(b) {
		body, size, ok := unframe(b[valid:])
		if !ok {
			break
		}
		var r record
		if err := json.Unmarshal(body, &r); err != nil {
			return h, valid, fmt.Errorf("%w: record %d: %v", errDamaged, h.records, err)
		}
		if err := h.add(r); err != nil {
			return h, valid, fmt.Errorf("%w: record %d: %v", errDamaged, h.records, err)
		}
		valid += size
	}
	for i := valid + 1; i < len(b); i++ {
		if _, _, ok := unframe(b[i:]); ok {
			return h, valid, fmt.Errorf("%w: record %d", errDamaged, h.records)
		}
	}
	return h, valid, nil
}

// history is what the records of a journal add up to.
type history struct {
	records int
	begun   bool
	info    RunInfo
	groups  []*group
	force   bool // of the rollback under way
}

type group struct {
	number  int // from 1
	changes []change
	kept    bool
	undone  bool
	left    []Left // when it was undone
}

// inPlace are the groups that are not undone.
func (h *history) inPlace() []*group {
	var gs []*group
	for _, g := range h.groups {
		if !g.undone {
			gs = append(gs, g)
		}
	}
	return gs
}

// last is the newest group that is not undone.
func (h *history) last() *group {
	gs := h.inPlace()
	if len(gs) == 0 {
		return nil
	}
	return gs[len(gs)-1]
}

func (h *history) add(r record) error {
	if r.Seq != h.records {
		return fmt.Errorf("has number %d", r.Seq)
	}
	if h.begun == (r.Type == recordBegin) {
		return fmt.Errorf("%q is out of place", r.Type)
	}
	if err := h.fold(r); err != nil {
		return err
	}
	h.records++
	return nil
}

// fold applies a record. A record that does not fit is an error and changes
// nothing.
func (h *history) fold(r record) error {
	finished := h.begun && h.info.State.finished()
	switch r.Type {
	case recordBegin:
		if r.Run == nil || r.Run.Format != journalFormat || !validRunID(r.Run.ID) {
			return errors.New("begin without a run of a known format")
		}
		h.begun = true
		h.info = RunInfo{ID: r.Run.ID, Command: r.Run.Command, Phase: r.Run.Phase, Version: r.Run.Version, Started: r.Time, State: Unfinished}
		return nil
	case recordRollback:
		if h.info.State != Committed {
			return fmt.Errorf("rollback of a run that is %s", h.info.State)
		}
		h.info.State, h.force = RollingBack, r.Force
		h.unkeep(1)
		return nil
	}
	if finished {
		return fmt.Errorf("%q after the end", r.Type)
	}
	switch r.Type {
	case recordGroup:
		if r.Group != len(h.groups)+1 || h.info.State != Unfinished {
			return fmt.Errorf("group %d is out of place", r.Group)
		}
		for i := range r.Changes {
			if err := r.Changes[i].validate(); err != nil {
				return err
			}
		}
		h.groups = append(h.groups, &group{number: r.Group, changes: r.Changes})
	case recordKeep:
		for _, g := range h.groups {
			g.kept = true
		}
	case recordUndo:
		h.unkeep(r.Group)
	case recordUndone:
		if r.Group < 1 || r.Group > len(h.groups) {
			return fmt.Errorf("group %d was never begun", r.Group)
		}
		h.groups[r.Group-1].undone, h.groups[r.Group-1].left = true, r.Left
	case recordEnd:
		if !r.State.finished() {
			return fmt.Errorf("end in state %q", r.State)
		}
		h.info.State, h.info.Finished = r.State, r.Time
	default:
		return fmt.Errorf("unknown type %q", r.Type)
	}
	return nil
}

func (h *history) unkeep(from int) {
	for _, g := range h.groups {
		if g.number >= from {
			g.kept = false
		}
	}
}

var (
	backupPattern = regexp.MustCompile(`^[0-9]{4,9}$`)
	digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
	suffixPattern = regexp.MustCompile(`^[0-9a-f]{6}$`)
)

// validate refuses a record that would lead an undo to anything but the path
// that it names and the temporary file beside it.
func (c *change) validate() error {
	if err := validPath(c.Path); err != nil {
		return err
	}
	switch c.Kind {
	case Write, Mkdir:
		suffix, ok := strings.CutPrefix(c.Temp, tempPrefix(path.Base(c.Path)))
		if !ok || !suffixPattern.MatchString(suffix) {
			return fmt.Errorf("%s: not a temporary name: %q", c.Path, c.Temp)
		}
	case Meta:
		if c.Temp != "" || c.Before.Absent {
			return fmt.Errorf("%s: not a change of mode and owner", c.Path)
		}
	default:
		return fmt.Errorf("%s: unknown kind %q", c.Path, c.Kind)
	}
	replaces := c.Kind == Write && !c.Before.Absent
	if replaces != backupPattern.MatchString(c.Backup) || !replaces && c.Backup != "" {
		return fmt.Errorf("%s: not a backup: %q", c.Path, c.Backup)
	}
	if c.Kind == Mkdir && !c.Before.Absent || c.After.Absent {
		return fmt.Errorf("%s: not a change", c.Path)
	}
	if c.Kind == Write && !digestPattern.MatchString(c.After.Digest) || replaces && !digestPattern.MatchString(c.Before.Digest) {
		return fmt.Errorf("%s: no digest", c.Path)
	}
	for _, s := range []fileState{c.Before, c.After} {
		if !validID(s.UID) || !validID(s.GID) {
			return fmt.Errorf("%s: no owner", c.Path)
		}
	}
	return nil
}

// validID says whether id can be a user or group; the highest means "leave it"
// to chown(2).
func validID(id int) bool { return id >= 0 && int64(id) < 1<<32-1 }

// validPath accepts what may be changed: any path but the root, the state
// directory and what is above it or in it.
func validPath(p string) error {
	if !strings.HasPrefix(p, "/") || p == "/" || path.Clean(p) != p || strings.IndexByte(p, 0) >= 0 {
		return fmt.Errorf("%q: not the absolute path of a file", p)
	}
	if p == StateDir || strings.HasPrefix(p, StateDir+"/") || strings.HasPrefix(StateDir, p+"/") {
		return fmt.Errorf("%q: the program's own state", p)
	}
	if _, own := companions[p]; own {
		return fmt.Errorf("%q: the program's own", p)
	}
	return nil
}

// tempPrefix begins the name of a temporary file for base. The dot comes first,
// because the kubelet takes every other file in a manifest directory for a pod
// (Kubernetes pkg/kubelet/config/file.go); the random end keeps container
// runtimes from reading it as a CNI configuration (*.conflist). Names that would
// be too long are cut.
func tempPrefix(base string) string {
	return "." + base[:min(len(base), 200)] + ".hardener-"
}
