package node

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestParseEnvFile(t *testing.T) {
	for _, tt := range []struct {
		reason, file string
		want         map[string]string
	}{
		{"plain", "A=1\nB=two words\n", map[string]string{"A": "1", "B": "two words"}},
		{"no newline at the end", "A=1", map[string]string{"A": "1"}},
		{"the last of duplicates counts", "A=1\nA=2\n", map[string]string{"A": "2"}},
		{"comments and blank lines", "# A=1\n; B=2\n\n  # C=3\nD=4\n", map[string]string{"D": "4"}},
		{"a comment sign inside a value", "A=1 # not a comment\n", map[string]string{"A": "1 # not a comment"}},
		{"blanks around", "  A = 1  \n", map[string]string{"A": "1"}},
		{"double quotes keep blanks", "A=\" x \"\n", map[string]string{"A": " x "}},
		{"single quotes keep everything", `A=' $x \n "'` + "\n", map[string]string{"A": ` $x \n "`}},
		{"backslashes in double quotes", `A="\"\\\$\x"` + "\n", map[string]string{"A": `"\$\x`}},
		{"quotes in the middle mean themselves", `A=x"y"` + "\n", map[string]string{"A": `x"y"`}},
		{"quoted pieces are joined", `A="x"  'y'` + "\n", map[string]string{"A": "xy"}},
		{"a line joined in quotes", "A=\"x \\\ny\"\n", map[string]string{"A": "x y"}},
		{"a newline in quotes", "A=\"x\ny\"\nB=1\n", map[string]string{"A": "x\ny", "B": "1"}},
		{"a line joined without quotes", "A=x\\\ny\nB=1\n", map[string]string{"A": "xy", "B": "1"}},
		{"an escaped blank at the end is kept", "A=x\\ \n", map[string]string{"A": "x "}},
		{"empty", "A=\nB=\"\"\nC=1\n", map[string]string{"A": "", "B": "", "C": "1"}},
		{"no assignment", "A\nB=1\n", map[string]string{"B": "1"}},
		{"names that are none", "export A=1\n1B=2\nC-D=3\n=4\nE_1=5\n", map[string]string{"E_1": "5"}},
		{"DOS line ends", "A=1\r\nB=\"2\"\r\n", map[string]string{"A": "1", "B": "2"}},
		{"an open quote", "A=\"x", map[string]string{"A": "x"}},
		{"a value with =", "A=--config=/x\n", map[string]string{"A": "--config=/x"}},
		{"nothing", "", map[string]string{}},
	} {
		if diff := cmp.Diff(tt.want, ParseEnvFile([]byte(tt.file))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
		}
	}
}

func TestExpandCommand(t *testing.T) {
	env := map[string]string{"ONE": "1", "TWO": "a b", "QUOTED": `--x="c d" e`, "EMPTY": "", "PATHS": "/a:/b"}
	for _, tt := range []struct {
		reason, line string
		want         []string
	}{
		{"plain words", "/bin/x a  b", []string{"/bin/x", "a", "b"}},
		{"$NAME becomes words", "/bin/x $TWO", []string{"/bin/x", "a", "b"}},
		{"quotes in the value are resolved", "/bin/x $QUOTED", []string{"/bin/x", "--x=c d", "e"}},
		{"${NAME} stays one word", "/bin/x ${TWO}", []string{"/bin/x", "a b"}},
		{"${NAME} inside a word", "/bin/x --a=${TWO}-${ONE}", []string{"/bin/x", "--a=a b-1"}},
		{"$NAME inside a word is left alone", "/bin/x --a=$ONE", []string{"/bin/x", "--a=$ONE"}},
		{"unset and empty $NAME vanish", "/bin/x $UNSET $EMPTY y", []string{"/bin/x", "y"}},
		{"unset and empty ${NAME} are empty words", "/bin/x ${UNSET} ${EMPTY}", []string{"/bin/x", "", ""}},
		{"$$ is a dollar", "/bin/x $$ONE $${ONE}", []string{"/bin/x", "$ONE", "${ONE}"}},
		{"quotes", `/bin/x "a b" 'c d' e\ f`, []string{"/bin/x", "a b", "c d", "e f"}},
		{"escapes", `/bin/x a\tb "\"q\""`, []string{"/bin/x", "a\tb", `"q"`}},
		{"prefixes", "-+/bin/x a", []string{"/bin/x", "a"}},
		{"@ names argv[0]", "@/bin/x other a", []string{"other", "a"}},
		{": leaves variables alone", ":/bin/x $ONE", []string{"/bin/x", "$ONE"}},
		{"specifiers are left alone", "/bin/x %n", []string{"/bin/x", "%n"}},
		{"a second command", "/bin/x a ; /bin/y b", []string{"/bin/x", "a"}},
		{"an open brace", "/bin/x ${ONE $", []string{"/bin/x", "${ONE", "$"}},
		{"nothing", "", nil},
	} {
		if diff := cmp.Diff(tt.want, expandCommand(tt.line, env)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
		}
	}
}

func TestUnit(t *testing.T) {
	link := func(target string) *fstest.MapFile {
		return &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte(target)}
	}
	file := func(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }
	fsys := fstest.MapFS{
		"usr/lib/systemd/system/kubelet.service": file("[Service]\nExecStart=/usr/bin/hidden\n"),
		"etc/systemd/system/kubelet.service": file("[Unit]\n# comment\nDescription = a\\\n; comment inside\n   b \n\n[Service]\nExecStart=/usr/bin/kubelet \\\n  $ARGS \\\n\t--x\n" +
			"Environment=\"ARGS=--a --b\" C=1\nEnvironmentFile=-/etc/missing\nEnvironmentFile=/etc/default/kubelet\n[Install]\nExecStart=not this\n"),
		"usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": file("[Service]\nExecStart=\nExecStart=/usr/bin/kubelet $ARGS $MORE\n"),
		"usr/lib/systemd/system/kubelet.service.d/20-x.conf":       file("[Service]\nUser=nobody\n"),
		"etc/systemd/system/kubelet.service.d/20-x.conf":           file("[Service]\nUser=kube\n"),
		"etc/systemd/system/kubelet.service.d/30-off.conf":         link("/dev/null"),
		"usr/lib/systemd/system/kubelet.service.d/30-off.conf":     file("[Service]\nUser=wrong\n"),
		"run/systemd/system/kubelet.service.d/15-env.conf":         file("[Service]\nEnvironment=MORE=--m\n"),
		"run/systemd/system/kubelet.service.d/README":              file("[Service]\nUser=wrong\n"),
		"etc/systemd/system/service.d/00-all.conf":                 file("[Service]\nUser=first\n"),
		"etc/default/kubelet":                                      file("ARGS=\"--from file\"\n"),
		"etc/systemd/system/masked.service":                        link("/dev/null"),
		"usr/lib/systemd/system/masked.service":                    file("[Service]\nExecStart=/bin/x\n"),
		"etc/systemd/system/needs.service":                         file("[Service]\nEnvironmentFile=/etc/missing\nExecStart=/bin/x $A\n"),
	}
	u, err := ReadUnit(fsys, "kubelet.service")
	if err != nil {
		t.Fatal(err)
	}
	if u.Path != "/etc/systemd/system/kubelet.service" || u.Value("Unit", "Description") != "a b" || u.Value("Service", "User") != "kube" {
		t.Errorf("unit %s, description %q, user %q", u.Path, u.Value("Unit", "Description"), u.Value("Service", "User"))
	}
	wantDropIns := []string{
		"/etc/systemd/system/service.d/00-all.conf", "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
		"/run/systemd/system/kubelet.service.d/15-env.conf", "/etc/systemd/system/kubelet.service.d/20-x.conf",
	}
	if diff := cmp.Diff(wantDropIns, u.DropIns); diff != "" {
		t.Errorf("drop-ins (-want +got):\n%s", diff)
	}
	s, err := u.Start(fsys)
	if err != nil {
		t.Fatal(err)
	}
	want := Start{
		Argv:     []string{"/usr/bin/kubelet", "--from", "file", "--m"},
		Env:      map[string]string{"ARGS": "--from file", "C": "1", "MORE": "--m"},
		EnvFiles: []string{"/etc/default/kubelet"},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("start (-want +got):\n%s", diff)
	}
	for _, name := range []string{"masked.service", "none.service"} {
		if _, err := ReadUnit(fsys, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v; want %v", name, err, fs.ErrNotExist)
		}
	}
	u, err = ReadUnit(fsys, "needs.service")
	if err != nil {
		t.Fatal(err)
	}
	s, err = u.Start(fsys)
	if err == nil || !strings.Contains(err.Error(), "needs.service") || len(s.Argv) != 1 {
		t.Errorf("a missing environment file: %q, %v", s.Argv, err)
	}
}

// FuzzUnit looks for input that stops a parser.
func FuzzUnit(f *testing.F) {
	f.Add([]byte(kubesprayUnit))
	f.Add([]byte(kubeletEnv231))
	f.Add([]byte("A=\"x\\\ny\" 'z\nExecStart=@$A ${A} $$ \\"))
	f.Fuzz(func(t *testing.T, data []byte) {
		env := ParseEnvFile(data)
		for name := range env {
			if !validEnvName(name) {
				t.Errorf("name %q", name)
			}
		}
		fsys := fstest.MapFS{"etc/systemd/system/x.service": {Data: append([]byte("[Service]\n"), data...)}}
		u, err := ReadUnit(fsys, "x.service")
		if err != nil {
			t.Fatal(err)
		}
		s, _ := u.Start(fsys)
		_ = Flags(s.Argv)
		_ = expandCommand(string(data), env)
		if _, _, err := parseStat(data); err == nil {
			_ = Process{Args: parseCmdline(data)}.Command()
		}
	})
}
