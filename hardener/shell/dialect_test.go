package shell

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDialectOf(t *testing.T) {
	for name, tt := range map[string]struct {
		links map[string]string
		want  Dialect
	}{
		"Debian":       {map[string]string{"bin": "usr/bin", "usr/bin/sh": "dash"}, Dash},
		"alternatives": {map[string]string{"bin/sh": "/etc/alternatives/sh", "etc/alternatives/sh": "/bin/dash"}, Dash},
		"bash":         {map[string]string{"bin/sh": "bash"}, Bash},
		"BusyBox":      {map[string]string{"bin/sh": "/bin/busybox"}, Bash},
		"loop":         {map[string]string{"bin/sh": "sh"}, Bash},
		"none":         {nil, Bash},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for link, target := range tt.links {
				link = filepath.Join(dir, link)
				check(t, os.MkdirAll(filepath.Dir(link), 0o755))
				check(t, os.Symlink(target, link))
			}
			if got := DialectOf(os.DirFS(dir)); got != tt.want {
				t.Errorf("dialect %d, want %d", got, tt.want)
			}
		})
	}
}

// TestQuirk wants to know when the dialect has its part in a result, and only then.
func TestQuirk(t *testing.T) {
	for script, quirk := range map[string]bool{
		`[[ a == a ]] && echo yes`:                 true,
		`x=a; x+=b; echo $x`:                       true,
		`[ a == a ] && echo yes`:                   true,
		`echo '{"a":"b\nc"}' | jq .`:               true,
		`echo 'a\tb'`:                              true,
		`echo ${x//a/b}`:                           true,
		`echo -n a | cat; [ a = a ] && echo b`:     false,
		`export A=b; for i in $A; do :; done`:      false,
		`printf 'a\nb'; echo a | xargs echo 'b\n'`: false,
	} {
		dash := (&Runner{FS: os.DirFS(t.TempDir()), Dialect: Dash}).Run(t.Context(), script)
		bash := (&Runner{FS: os.DirFS(t.TempDir())}).Run(t.Context(), script)
		if dash.Quirk != quirk || bash.Quirk {
			t.Errorf("%s: quirk %t, want %t; as Bash %t", script, dash.Quirk, quirk, bash.Quirk)
		}
		if differ := dash.Output != bash.Output; differ != quirk {
			t.Errorf("%s: %q, as Bash %q", script, dash.Output, bash.Output)
		}
	}
}
