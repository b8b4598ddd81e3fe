//go:build linux

package txn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

const testRun = "20261122T204512Z-5f02ac"

// journalOf frames records, numbering them.
func journalOf(t testing.TB, records ...record) []byte {
	t.Helper()
	var b []byte
	for i, r := range records {
		r.Seq, r.Time = i, time.Unix(0, 0).UTC()
		line, err := frame(r)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, line...)
	}
	return b
}

func begin() record {
	return record{Type: recordBegin, Run: &runHeader{Format: journalFormat, ID: testRun}}
}

func created(p string) change {
	return change{Kind: Write, Path: p, Before: fileState{Absent: true}, After: fileState{Mode: 0o600, Digest: Digest(nil)},
		Temp: tempPrefix(path.Base(p)) + "00aaff"}
}

func TestJournalSurvivesItsTornEnd(t *testing.T) {
	whole := journalOf(t, begin(), record{Type: recordGroup, Group: 1, Changes: []change{created("/etc/a")}})
	first := bytes.IndexByte(whole, '\n') + 1
	for cut := range len(whole) + 1 {
		h, valid, err := readJournal(whole[:cut])
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		want := 0
		switch {
		case cut == len(whole):
			want = len(whole)
		case cut >= first:
			want = first
		}
		if valid != want || h.begun != (want > 0) {
			t.Errorf("cut at %d: %d bytes valid, want %d", cut, valid, want)
		}
	}
}

func TestJournalDamage(t *testing.T) {
	records := []record{begin(), {Type: recordGroup, Group: 1, Changes: []change{created("/etc/a")}}, {Type: recordKeep}}
	whole := journalOf(t, records...)
	first := bytes.IndexByte(whole, '\n') + 1
	second := first + bytes.IndexByte(whole[first:], '\n') + 1
	flip := func(at int) []byte {
		b := bytes.Clone(whole)
		b[at] ^= 1
		return b
	}
	for _, c := range []struct {
		reason  string
		journal []byte
		valid   int
		damaged bool
	}{
		{"whole", whole, len(whole), false},
		{"a bad last record is what a crash leaves", flip(len(whole) - 5), second, false},
		{"a bad record with good ones after it is not", flip(first + frameHead + 3), first, true},
		{"nor is a bad length", flip(first + 7), first, true},
		{"nor a lost newline", flip(second - 1), first, true},
		{"zeros at the end are what some file systems leave", append(bytes.Clone(whole), make([]byte, 100)...), len(whole), false},
		{"a record twice", append(bytes.Clone(whole), whole[second:]...), len(whole), true},
		{"a run in a run", append(bytes.Clone(whole), whole[:first]...), len(whole), true},
	} {
		_, valid, err := readJournal(c.journal)
		if valid != c.valid || errors.Is(err, errDamaged) != c.damaged {
			t.Errorf("%s: %d bytes valid, want %d; error %v", c.reason, valid, c.valid, err)
		}
	}
}

func TestRecordsThatAreRefused(t *testing.T) {
	with := func(f func(*change)) record {
		c := created("/etc/a")
		f(&c)
		return record{Type: recordGroup, Group: 1, Changes: []change{c}}
	}
	replaced := func(c *change) {
		c.Before = fileState{Mode: 0o644, Digest: Digest(nil)}
		c.Backup = "0001"
	}
	for _, c := range []struct {
		reason string
		record record
	}{
		{"a path that is not absolute", with(func(c *change) { c.Path = "etc/a" })},
		{"a path that climbs", with(func(c *change) { c.Path = "/etc/../a" })},
		{"the root", with(func(c *change) { c.Path = "/" })},
		{"the journal itself", with(func(c *change) { *c = created(StateDir + "/lock") })},
		{"what holds the journal", with(func(c *change) { *c = created("/var/lib") })},
		{"a temporary file that is another file", with(func(c *change) { c.Temp = "passwd" })},
		{"a temporary file elsewhere", with(func(c *change) { c.Temp = "../.a.hardener-00aaff" })},
		{"a temporary file with another suffix", with(func(c *change) { c.Temp = ".a.hardener-../../" })},
		{"a backup elsewhere", with(func(c *change) { replaced(c); c.Backup = "../journal" })},
		{"a replaced file without a backup", with(func(c *change) { replaced(c); c.Backup = "" })},
		{"a new file with a backup", with(func(c *change) { c.Backup = "0001" })},
		{"no digest", with(func(c *change) { c.After.Digest = "" })},
		{"no owner", with(func(c *change) { c.After.UID = -1 })},
		{"the owner that means none", with(func(c *change) { c.After.GID = 1<<32 - 1 })},
		{"an unknown kind", with(func(c *change) { c.Kind = "remove" })},
		{"a directory that was there", with(func(c *change) { c.Kind = Mkdir; c.Before.Absent = false })},
		{"mode and owner of nothing", with(func(c *change) { c.Kind = Meta; c.Temp = "" })},
		{"the wrong group", record{Type: recordGroup, Group: 2}},
		{"the end of a group that was never begun", record{Type: recordUndone, Group: 1}},
		{"an end that is none", record{Type: recordEnd, State: Unfinished}},
		{"a rollback of what is not committed", record{Type: recordRollback}},
		{"an unknown type", record{Type: "x"}},
	} {
		h, _, err := readJournal(journalOf(t, begin(), c.record))
		if !errors.Is(err, errDamaged) || h.records != 1 {
			t.Errorf("%s: %d records, error %v", c.reason, h.records, err)
		}
	}
}

func TestModeIsOctal(t *testing.T) {
	b, err := json.Marshal(mode(0o4755))
	if err != nil || string(b) != `"4755"` {
		t.Errorf("%s, %v", b, err)
	}
	var m mode
	if err := json.Unmarshal([]byte(`"10000"`), &m); err == nil {
		t.Error("a mode of 13 bits was accepted")
	}
}

// FuzzJournal feeds arbitrary journals to Recover: as raw bytes, and as the
// bodies of well-formed records, one per line. Nothing panics, a valid prefix
// is never lost, and no operation touches a path that is not in a valid record.
func FuzzJournal(f *testing.F) {
	real := journalOf(f, begin(),
		record{Type: recordGroup, Group: 1, Changes: []change{created("/etc/a"), {
			Kind: Meta, Path: "/etc/b", Before: fileState{Mode: 0o644}, After: fileState{Mode: 0o600}}}},
		record{Type: recordEnd, State: Committed}, record{Type: recordRollback, Force: true})
	f.Add(false, real)
	var bodies []byte
	for line := range bytes.Lines(real) {
		bodies = append(bodies, line[frameHead:]...)
	}
	f.Add(true, bodies)
	f.Add(true, bytes.ReplaceAll(bodies, []byte("/etc/a"), []byte("/etc/c/d")))
	f.Add(true, bytes.ReplaceAll(bodies, []byte(`"write"`), []byte(`"mkdir"`)))
	dir := tempDir(f)
	f.Fuzz(func(t *testing.T, framed bool, data []byte) {
		if framed {
			data = frameLines(data)
		}
		h, valid, err := readJournal(data)
		again, validAgain, errAgain := readJournal(data[:valid])
		if errAgain != nil || validAgain != valid || again.records != h.records {
			t.Fatalf("the valid prefix alone: %d bytes, %v; with the rest: %d bytes, %v", validAgain, errAgain, valid, err)
		}
		if _, valid, _ := readJournal(append(bytes.Clone(real), data...)); valid < len(real) {
			t.Fatalf("a prefix of %d bytes was lost: %d", len(real), valid)
		}
		recoverFuzzed(t, dir, data, h)
	})
}

func frameLines(data []byte) []byte {
	var all []byte
	for line := range bytes.Lines(data) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		framed := fmt.Sprintf("%08x %08x %s\n", len(line), crc(line), line)
		all = append(all, framed...)
	}
	return all
}

// recoverFuzzed runs Recover on a node with this journal.
func recoverFuzzed(t *testing.T, dir string, journal []byte, h history) {
	root, err := os.MkdirTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	plant(t, root,
		entry{name: "etc/a", mode: 0o600},
		entry{name: "etc/b", mode: 0o600, content: "b"},
		entry{name: "etc/c/d", mode: 0o600, content: "d"},
		entry{name: strings.TrimPrefix(StateDir, "/") + "/runs/" + testRun + "/journal", mode: 0o600, content: string(journal)},
	)
	if err := os.Chmod(filepath.Join(root, StateDir), 0o700); err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{}
	for _, g := range h.groups {
		for _, c := range g.changes {
			up := path.Dir(c.Path)
			allowed[c.Path], allowed[up], allowed[strings.TrimSuffix(up, "/")+"/"+c.Temp] = true, true, true
		}
	}
	fsys, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	s, err := open(fsys, disk{step: func(op, p string) {
		for _, p := range strings.Split(p, " -> ") {
			if !mine(p) && !allowed[p] {
				t.Errorf("%s %s is in no valid record", op, p)
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := snapshot(t, root)
	_, err = s.Recover()
	if len(h.groups) == 0 {
		if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
			t.Errorf("no group, but: %s", diff)
		}
	}
	if err != nil {
		return
	}
	outcomes, err := s.Recover()
	done := slices.DeleteFunc(outcomes, func(o Outcome) bool { return o.State == Damaged })
	if err != nil || len(done) > 0 {
		t.Errorf("a second recover: %v, %v", outcomes, err)
	}
}
