package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hardener": main})
}

// TestScripts runs the stories in testdata/script. Beside testscript's own
// commands they have:
//
//	sample DIR         write the sample node
//	remember DIR       take down every file of DIR
//	unchanged DIR      fail unless DIR is as it was
//	fails N TEXT ...   run hardener and want an exit code and one clear line
//	big FILE MIB       make a sparse file
//	newline DIR        put a key with a newline in its name there
//	substitute F O N   replace text in a file
//	damage-backup DIR  spoil the newest run's last backup
//	unprove DIR        cut the newest run's journal to its groups, as if it had died, and set RUN to it
//	damage DIR         spoil the journal of the newest run, and set RUN to it
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sample":     cmdSample,
			"remember":   cmdRemember,
			"unchanged":  cmdUnchanged,
			"fails":      cmdFails,
			"big":        cmdBig,
			"newline":    cmdNewline,
			"substitute": cmdSubstitute,
			"damage":     cmdDamage,
			"unprove":    cmdUnprove,

			"damage-backup": cmdDamageBackup,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

func cmdSample(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: sample DIR")
	}
	ts.Check(sample.Write(ts.MkAbs(args[0])))
}

// cmdFails runs hardener and wants an exit code and one clear line:
//
//	fails 2 'text of the error' hardener args...
func cmdFails(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: fails CODE TEXT hardener ARGS...")
	}
	var out, errs strings.Builder
	words := make([]string, 0, len(args))
	for _, word := range args[3:] {
		words = append(words, strings.ReplaceAll(word, "$WORK", ts.Getenv("WORK")))
	}
	code := run(context.Background(), words, streams{in: strings.NewReader(""), out: &out, err: &errs})
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s\nstderr: %s", code, args[0], errs.String())
	}
	var errorLines []string
	for line := range strings.Lines(errs.String()) {
		if !strings.HasPrefix(line, "hardener: hint: ") {
			errorLines = append(errorLines, line)
		}
	}
	if len(errorLines) != 1 || !strings.HasPrefix(errorLines[0], "hardener: error: ") {
		ts.Fatalf("want one line of error, got:\n%s", errs.String())
	}
	if !strings.Contains(errorLines[0], args[1]) {
		ts.Fatalf("the error does not say %q: %s", args[1], errorLines[0])
	}
	for _, bad := range []string{"goroutine", "panic", ".go:"} {
		if strings.Contains(errs.String(), bad) {
			ts.Fatalf("the error shows the program's insides: %s", errs.String())
		}
	}
}

func cmdRemember(ts *testscript.TestScript, _ bool, args []string) {
	for _, dir := range args {
		is, err := fingerprint(ts.MkAbs(dir))
		ts.Check(err)
		ts.Setenv("REMEMBERED_"+dir, is)
	}
}

func cmdUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range args {
		is, err := fingerprint(ts.MkAbs(dir))
		ts.Check(err)
		was := ts.Getenv("REMEMBERED_" + dir)
		if was == "" {
			ts.Fatalf("%s was never remembered", dir)
		}
		if (was == is) == neg {
			ts.Fatalf("%s: changed is %v, want %v", dir, was != is, neg)
		}
	}
}

// fingerprint covers names, modes, owners and contents of a tree, but for the
// program's own state directory.
func fingerprint(dir string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "kubespray-hardener" {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		if d.Name() == "lib" { // gets the state directory as a new entry
			fmt.Fprintln(h, path)
			return nil
		}
		fmt.Fprintln(h, path, info.Mode(), stat.Uid, stat.Gid)
		switch {
		case info.Mode().IsRegular() && info.Size() < 1<<20:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			h.Write(data)
		case info.Mode().IsRegular():
			fmt.Fprintln(h, info.Size())
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintln(h, target)
		}
		return nil
	})
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

func cmdBig(ts *testscript.TestScript, _ bool, args []string) {
	var size int64
	_, err := fmt.Sscan(args[1], &size)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size<<20))
}

// cmdNewline makes a file whose name a script cannot write.
func cmdNewline(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), "two\nlines.key"), []byte("x"), 0o644))
}

// newestJournal is the journal of a tree's newest run, which RUN names from then on.
func newestJournal(ts *testscript.TestScript, tree string) (journal string, data []byte) {
	runs, err := filepath.Glob(filepath.Join(ts.MkAbs(tree), "var/lib/kubespray-hardener/runs/*"))
	ts.Check(err)
	if len(runs) == 0 {
		ts.Fatalf("%s has no runs", tree)
	}
	journal = filepath.Join(runs[len(runs)-1], "journal")
	data, err = os.ReadFile(journal)
	ts.Check(err)
	ts.Setenv("RUN", filepath.Base(runs[len(runs)-1]))
	return journal, data
}

// cmdDamage puts something before the last record of the newest run's journal,
// which no crash does.
func cmdDamage(ts *testscript.TestScript, _ bool, args []string) {
	journal, data := newestJournal(ts, args[0])
	last := strings.LastIndex(strings.TrimSuffix(string(data), "\n"), "\n") + 1
	ts.Check(os.WriteFile(journal, []byte(string(data[:last])+"rot"+string(data[last:])), 0o600))
}

// cmdUnprove takes the records that keep and end a run out of the newest run's
// journal, as if its process had died.
func cmdUnprove(ts *testscript.TestScript, _ bool, args []string) {
	journal, data := newestJournal(ts, args[0])
	keep := strings.Index(string(data), `"type":"keep"`)
	if keep < 0 {
		ts.Fatalf("%s keeps nothing", journal)
	}
	ts.Check(os.WriteFile(journal, data[:strings.LastIndex(string(data[:keep]), "\n")+1], 0o600))
}

func cmdDamageBackup(ts *testscript.TestScript, _ bool, args []string) {
	backups, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "var/lib/kubespray-hardener/runs/*/backup/*"))
	ts.Check(err)
	if len(backups) == 0 {
		ts.Fatalf("%s has no backups", args[0])
	}
	ts.Check(os.WriteFile(backups[len(backups)-1], []byte("rot"), 0o600))
}

// cmdSubstitute replaces text in a file; \n, \t, \r and \0 stand for themselves.
func cmdSubstitute(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: substitute FILE OLD NEW")
	}
	escapes := strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\r`, "\r", `\0`, "\x00")
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	was, is := escapes.Replace(args[1]), escapes.Replace(args[2])
	if !strings.Contains(string(data), was) {
		ts.Fatalf("%s has no %q", args[0], was)
	}
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(string(data), was, is)), info.Mode()))
}
