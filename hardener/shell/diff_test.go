package shell

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// diffCase is a script that must do the same in this package and in the real
// shell with the real tools.
type diffCase struct {
	script string
	shell  string // the real shell; "" is sh
	need   string // a command besides coreutils, grep, sed, findutils and awk
	differ string // why the output may differ; the status must still be the same
	sorted bool   // lines may come in another order: find lists as the file system does
}

func diffCases() []diffCase {
	return []diffCase{
		// shell
		{script: `echo a b   c; echo "a  b"; echo 'x y'`},
		{script: `if test -e $T/a.txt; then echo yes; else echo no; fi`},
		{script: `if test -e $T/nothing; then echo yes; else echo no; fi`},
		{script: `if ! test -d $T/dir; then echo no; elif [ -f $T/a.txt ]; then echo file; fi`},
		{script: `test -e; echo $?; test -z; echo $?; test -e $EMPTY; echo $?; test -z $EMPTY; echo $?`},
		{script: `/bin/sh -c 'if test -e '$T/a.txt'; then stat -c permissions=%a '$T/a.txt'; fi'`},
		{script: `/bin/sh -c "if test -e $T/nothing; then stat -c %U:%G $T/nothing; else echo \"File not found\"; fi"`},
		{script: `sh -c 'exit 3'; echo $?; sh -c 'echo $0 $1 $#' name one two; exit 4`},
		{script: `X=1; export Y=2; sh -c 'echo "[$X][$Y]"'`},
		{script: `for f in $T/a.txt $T/nothing; do if test -e $f; then stat -c "permissions=%a %n" $f; fi; done`},
		{script: `printf 'a 1\nb 2 3\n' | while read -r x y; do echo "$y-$x"; done`},
		{script: `x=abc,; echo ${x%,} ${x:-d} ${none:-d} ${#x}`},
		{script: `echo "x: $(cat $T/a.txt)"; echo $(cat $T/nothing); echo $?`},
		{script: "echo `echo nested`"},
		{script: `false || echo or; true && echo and; ! false; echo $?`},
		{script: `(echo sub; exit 3); echo $?`},
		{script: `{ echo one; echo two; } | tail -n1`},
		{script: `echo $((1+2*3))`},
		{script: `echo $T/*.txt $T/none*.x`},
		{script: `f() { echo "f $1"; return 3; }; f x; echo $?`},
		{script: `cat 2>/dev/null $T/nothing; echo $?`},
		{script: `cat $T/nothing 2>&1 | sed 's/.*: //'`},
		{script: `cat < $T/a.txt; read x < $T/a.txt; echo "$x"`},
		{script: `case abc in a*) echo A;; *) echo other;; esac`},
		{script: `[ "a" = "a" ] && ( [ "b" = "c" ] || [ "b" = "b" ] ); echo $?`},
		{script: `[ 3 -gt 2 ]; echo $?; [ 3 -le 2 ]; echo $?; [ -n "" ]; echo $?`},
		{script: `[[ "a" != "b" && "c" == "c" ]] && echo yes`, shell: "bash"},
		{script: `x=a; x+="b"; echo $x; echo ${x//a/z}`, shell: "bash"},
		{script: `set -- a b; echo $# $2; shift; echo $1`},

		// what dash has of its own
		{script: `if [[ a != b && c == c ]]; then echo yes; else echo no; fi; echo $?`, shell: "dash"},
		{script: `x=a; x+="b c"; echo $? $x`, shell: "dash"},
		{script: `[ a == a ] || echo no; test a == a; echo $?`, shell: "dash"},
		{script: `x='{"a": "b\nc\td\\e \u003c"}'; echo $x; echo "$x" | cat; echo ${x} | jq -r .a; echo $?`, shell: "dash", need: "jq"},
		{script: `echo -n 'a\tb'; echo; echo -e 'a\c'; echo; echo 'x\0101\c' y; echo; echo '\q\'; echo x | xargs echo 'a\nb'; /bin/echo 'a\nb' | cat`, shell: "dash"},
		{script: `echo -e x | cat; echo -n x | cat; echo "\\d"`, shell: "dash"},
		{script: `X=1; export Y="$X b" Z X; sh -c 'echo "[$X][$Y][$Z]"'; readonly R=x; echo $R; f() { local v=1 w; v=2; echo $v$w; }; f; echo "[$v]"`, shell: "dash"},
		{script: `sh -c '[[ a ]] || echo "a\tb"'`, shell: "dash"},
		{script: `echo no newline at the end of a pipe | tr -d '\n'`},
		{script: `cat; grep x; echo end`, differ: "dash has read the whole script before, so standard input is empty in both"},

		// stat
		{script: `stat -c permissions=%a $T/a.txt`},
		{script: `stat -c %U:%G $T/a.txt $T/dir`},
		{script: `stat -c '%a %n' $T/link; stat -L -c '%a %n' $T/link; stat -c %F $T/link $T/dir $T/a.txt $T/empty`},
		{script: `stat -c %a $T/dirlink; stat -c %a $T/dirlink/; stat -c %a $T/a.txt/`},
		{script: `stat -c %a $T/nothing; echo $?`},
		{script: `stat -c %a "$T/a'b" "$T/no'thing"`},
		{script: `stat -c %n %a $T/a.txt`},
		{script: `stat; echo $?`},
		{script: `stat -c '%A %f %u %g %s %h %%' $T/setuid $T/sticky $T/a.txt`},
		{script: `stat --format=%a $T/a.txt; stat --printf='%a\n%n\n' $T/a.txt; stat $T/a.txt -c %s; stat -c '[%5a][%-5a][%05a]' $T/a.txt`},
		{script: `stat -c %a ""; cat ""; grep x ""; test -e ""; echo $?; find ""; echo $?`},
		{script: "cat \"$T/no such\" \"$T/new\nline\" '$x' 'a\"b' \"it's\" a=b '#a' a~b '{}'; stat -c %a \"new\nline\" 'a\"b' \"it's $\""},
		{script: `echo $0; sh -c 'echo $0'; /bin/sh -c 'echo $0'; /no/such; echo $?; cat < $T/nothing; true`},
		{script: `/no/such/command; echo $?; sh -c '/no/such/command'`},
		{script: `find -L $T/loop; echo $?`, sorted: true},
		{script: `stat -c %N $T/link "$T/a'b"`},

		// find and xargs
		{script: `find $T`, sorted: true},
		{script: `find $T/dir/ -name '*.crt' | xargs stat -c permissions=%a`},
		{script: `find $T/dirlink -type f; find $T/dirlink/ -type f`, sorted: true},
		{script: `find $T/dir -mindepth 1`, sorted: true},
		{script: `find $T -maxdepth 1 -type f ! -name 'a*'`, sorted: true},
		{script: `find $T -type l -o -name '*.key'`, sorted: true},
		{script: `find $T \( -name '*.key' -o -name '*.crt' \) -not -name 'b*'`, sorted: true},
		{script: `find $T/nothing; echo $?; find $T/nothing -type f 2>/dev/null | xargs --no-run-if-empty stat -c %a; echo $?`},
		{script: `find $T -perm 600; find $T -perm /4000; find $T -type f -perm -644`, sorted: true},
		{script: `find $T/dir -name '*.crt' -exec stat -c '%a %n' {} +`},
		{script: `find $T/dir -name '*.crt' -exec stat -c '%a %n' {} \;`},
		{script: `find $T/dir -name '*.crt' -print0 | xargs -0 stat -c %a`},
		{script: `find $T -empty`, sorted: true},
		{script: `find $T -user root -name a.txt; find $T -path '*dir*' -prune -o -print`, sorted: true},
		{script: `find $T -name`},
		{script: `find $T -L -type f`},
		{script: `find -L $T/dirlink -type f`, sorted: true},
		{script: `xargs stat -c %a < /dev/null; echo $?`},
		{script: `echo | xargs --no-run-if-empty stat -c %a; echo $?`},
		{script: `echo $T/nothing | xargs stat -c %a; echo $?`},
		{script: `echo a b | xargs; echo 'a "b  c" d\ e' | xargs -n 1; printf 'a b\nc\n' | xargs -L 1`},
		{script: `printf 'a b \nc\nd\n' | xargs -L 1 echo x`},
		{script: `printf 'a b\n  c\n' | xargs -I{} echo '<{}>'; printf 'q\n' | xargs -I {} echo {} {}x`},
		{script: `echo "it's" | xargs; echo $?`},
		{script: `printf 'a,b,c' | xargs -d , echo`},
		{script: `echo x | xargs false; echo $?; echo x | xargs sh -c 'exit 255'; echo $?`},
		{script: `echo $T/dir | xargs -I{} find {} -mindepth 1 -type f`, sorted: true},
		{script: `echo 3 | xargs printf '%s-%s\n'; echo a = a | xargs test; echo $?`},
		{script: `echo a a | xargs test; echo $?; test a b c; echo $?`, differ: "the interpreter's own text for a wrong test"},

		// grep
		{script: `grep one $T/a.txt; echo $?; grep nope $T/a.txt; echo $?; grep x $T/nothing; echo $?`},
		{script: `grep -v one $T/a.txt; grep -c o $T/a.txt; grep -n t $T/a.txt; grep -o '[a-z]*' $T/a.txt`},
		{script: `grep -A1 one $T/a.txt; grep -B1 two $T/a.txt; grep -C1 two $T/a.txt; grep -A1 -n e $T/groups`},
		{script: `grep -A1 'providers:' $T/enc.yaml | tail -n1 | grep -o "[A-Za-z]*" | sed 's/^/provider=/'`},
		{script: `grep -q one $T/a.txt $T/nothing; echo $?; grep -s x $T/nothing; echo $?; grep -q zzz $T/a.txt $T/nothing; echo $?`},
		{script: `grep -E 'one|two' $T/a.txt; grep -Eo 't[a-z]+' $T/a.txt; grep 'o\+' $T/a.txt; grep 'one\|two' $T/a.txt`},
		{script: `grep -- --flag $T/flags; grep -v -- --flag $T/flags; grep -o -- '--[a-z-]*' $T/flags; grep -- -v $T/flags`},
		{script: `grep -w two $T/words; grep -i TWO $T/words; grep -x two $T/words; grep -F 't.o' $T/words; grep -m1 t $T/words; grep -ow 'tw[a-z]*' $T/words`},
		{script: `grep two $T/a.txt $T/words; grep -h two $T/a.txt $T/words; grep -l two $T/a.txt $T/words; grep -L two $T/a.txt $T/words $T/empty`},
		{script: `grep -H one $T/a.txt; grep -c t $T/a.txt $T/words; grep x $T/dir; echo $?; grep -r crt $T/dir; echo $?`},
		{script: `echo '["*"]' | grep -q "\[\"\*\"\]"; echo $?; echo 'a*b' | grep 'a*b'; echo '*a' | grep -o '*a'; echo 'a{2}' | grep 'a{2}'`},
		{script: `echo aab | grep -o 'a\{2\}'; echo aab | grep -Eo 'a{2}'; echo aab | grep -Eo '(a|aa)b?'; echo 'a+b' | grep 'a+b'; echo 'a^b$c' | grep 'a^b$c'`},
		{script: `echo 'foo bar' | grep -o '\w\+'; echo 'foo bar' | grep -o '\bbar\b'; echo 'a	b' | grep -o 'a\sb'; echo '[x]' | grep '[]x[]'; echo 'a-b' | grep -o '[a-]*'`},
		{script: `echo x | grep '[b-a]'; echo x | grep '[a'; echo x | grep '\)'; echo x | grep 'a\{x\}'; echo x | grep 'a\{'; echo x | grep '[[:foo:]]'; echo a/b | sed 's/[/]/x/'`},
		{script: `echo x | grep '\(' ; echo $?; echo x | grep '[' ; echo $?; echo x | grep -E '(' ; echo $?; echo 'a)' | grep -E 'a)'; echo $?; echo 'x\' | grep '\'; echo $?`},
		{script: `echo abc | grep ''; printf '' | grep ''; echo $?; echo abc | grep -c ''; echo abc | grep -vc ''; echo $?`},
		{script: `printf 'a\0b\n' | grep b; printf 'x' | grep x; grep; echo $?`},
		{script: `printf 'one\ntwo\nthree\n' | grep -e one -e three; printf 'a1\n' | grep '[[:alpha:]][[:digit:]]'; echo foo | grep 'f*oo*$'; echo foo | grep '^*'`},
		{script: `printf 'one two\n' | grep --color one; echo 'a.b' | grep 'a\.b'; grep -5 two $T/a.txt`},
		{script: `grep one $T/a.txt -v; grep -A x one $T/a.txt; echo $?; grep -m x one $T/a.txt; echo $?`},

		// sed
		{script: `echo 'x --data-dir=/var/lib/etcd --y' | sed 's%.*data-dir[= ]\([^ ]*\).*%\1%'; echo plain | sed 's%.*data-dir[= ]\([^ ]*\).*%\1%'`},
		{script: `echo '<none> null' | sed -e 's/<none>/notset/g' -e 's/null/notset/g'; echo aaa | sed 's/a/b/2'; echo aaa | sed 's/a/b/2g'; echo abc | sed 's/b/[&]/;s/c/\&/'`},
		{script: `sed -n 2p $T/a.txt; sed 2d $T/a.txt; sed '$d' $T/a.txt; sed -n '2,$p' $T/a.txt; sed -n '/one/,/two/p' $T/a.txt; sed '/two/!d' $T/a.txt`},
		{script: `sed -n '$=' $T/a.txt; sed 1q $T/a.txt; sed '2q 5' $T/a.txt; echo $?; sed -n '/two/{s/t/T/;p}' $T/a.txt; sed 'y/abc/xyz/' $T/a.txt; sed '1!G;h;$!d' $T/a.txt`},
		{script: `sed -E 's/(o)(n)/\2\1/' $T/a.txt; sed -r 's/e+$/E/' $T/a.txt; sed 's/x*/-/g' $T/a.txt; sed 's|/|_|g' $T/flags; echo a.b.c | sed 's/\./\n/g'`},
		{script: `sed 's/a' $T/a.txt; echo $?; sed 'k' $T/a.txt; echo $?; sed p $T/nothing; echo $?; sed -n p $T/dir; echo $?; sed 's/\(a/b/' $T/a.txt; echo $?`},
		{script: `printf 'no newline' | sed s/n/N/; printf 'a\nb' | sed -n '$p'; printf 'a\nb\nc\n' | sed -n '1~2p;2,+1p'; printf 'a\nb\n' | sed '1a text'; printf 'a\nb\n' | sed '/a/i\
before'`},
		{script: `printf 'a b\nc d\n' | sed 'N;s/\n/ /'; printf 'aXb\n' | sed ':x s/X/--/;tx'; printf '1\n2\n3\n' | sed '0,/1/d'; printf '1\n2\n' | sed '2c changed'`},
		{script: `printf 'one\ntwo\n' | sed -n '/one/!p'; sed -e 's/one/1/' -n -e p $T/a.txt; echo abc | sed 's/\(a\)\(b\)/\2\1/'; echo 'a/b' | sed 's/a\/b/c/'; echo Abc | sed 's/a/x/I'`},
		{script: `echo hello | sed; echo $?`, differ: "GNU prints its whole help"},

		// awk: mawk is Debian's
		{script: `echo 'a b c' | awk '{print $1}'; echo 'a b c' | awk '{ print $2 }'; echo a:b | awk -F: '{print $2}'; echo a=b=c | awk -F "=" '{print $NF}'`, need: "awk"},
		{script: `echo 'kubelet --client-ca-file=/x/ca.crt --y' | awk -F '--client-ca-file=' '{print $2}' | awk '{print $1}' | uniq`, need: "awk"},
		{script: `echo 'a: b' | awk -F":|: *" '{print $NF}'; printf '1\n2\n' | awk 'END{print NR}'; awk 'BEGIN{printf "%-5s|\n", "x"}'; awk '{n+=length($0)} END{print n}' $T/a.txt; awk '{if ($1=="one") {print "1"} else {print "no"}}' $T/a.txt`, need: "awk"},
		{script: `awk '{print}' $T/nothing; echo $?`, need: "awk", differ: "the text is that of the awk installed"},

		// text tools
		{script: `cat $T/a.txt $T/words; cat $T/dir; cat $T/nothing; echo $?; cat - < $T/a.txt; cat -- $T/a.txt`},
		{script: `tail -n1 $T/a.txt; tail -1 $T/a.txt; tail -n 2 $T/a.txt; tail -n +2 $T/a.txt; tail -c 3 $T/a.txt; tail $T/nothing; echo $?; printf 'a\nb' | tail -n1`},
		{script: `head -n1 $T/a.txt; head -2 $T/a.txt; head -c 3 $T/a.txt; head -n1 $T/a.txt $T/words; head $T/nothing; echo $?`, differ: "head's own text for a missing file"},
		{script: `wc -l < $T/a.txt; wc -l $T/a.txt; cat $T/a.txt | wc -w; wc -c $T/a.txt; echo abc | wc -l`},
		{script: `printf 'a\na\nb\na\n' | uniq; printf 'a\na\nb\n' | uniq -c; printf 'a\na\nb\n' | uniq -d; printf 'a\na\nb\n' | uniq -u`},
		{script: `printf 'b\na\nc\na\n' | sort; printf 'b\na\na\n' | sort -u; printf '10\n9\n' | sort -n; printf 'a\nb\n' | sort -r; printf 'x 2\ny 1\n' | sort -k2; printf 'x:2\ny:1\n' | sort -t: -k2,2n; printf 'B\na\nC\n' | sort`},
		{script: `echo 'a b' | tr -d ' '; printf 'a\0b\0' | tr '\0' '\n'; echo abc | tr a-c A-C; echo 'a  b' | tr -s ' '; echo "a	b" | tr -d '[:space:]'; echo; echo a1b | tr -cd '[:alpha:]'; echo; echo 'a b c' | tr ' ' '\n'; echo abc | tr abc x; echo hello | tr '[:lower:]' '[:upper:]'`},
		{script: `tr; echo $?; tr a; echo $?; tr a b c; echo $?; tr -d; echo $?`},
		{script: `echo a=b=c | cut -d= -f2; echo a=b=c | cut -d= -f2-; echo abcdef | cut -c2-3; echo a | cut -d: -f2; echo a | cut -s -d: -f2; printf 'a\tb\n' | cut -f1,2`},
		{script: `printf 'a\nb\nc\n' | paste -sd, -; printf 'a\nb\n' | paste -s; echo aGk= | base64 -d; echo; echo hi | base64; echo '!' | base64 -d; echo $?`},
		{script: `printf 'a\nb\n' > /dev/null; comm -23 $T/sorted1 $T/sorted2; comm $T/sorted1 $T/sorted2; comm -12 $T/sorted1 $T/sorted2`},
		{script: `basename $T/a.txt .txt; basename /; dirname /a/b; dirname a; dirname /a; dirname /a/b/; readlink $T/link | sed 's%.*/%%'; readlink -f $T/link; readlink $T/a.txt; echo $?; realpath $T/dirlink/x.crt`},
		{script: `echo -n a; echo; printf '%s\n' a b; printf '%-5s|%3d\n' x 4; printf 'a%sb'; echo`},
		{script: `/bin/echo x; /usr/bin/test -e $T/a.txt; echo $?; /bin/cat $T/a.txt; /bin/true; /bin/grep one $T/a.txt`},
		{script: `command -v grep > /dev/null; echo $?; command -v nosuchcommand; echo $?; type echo > /dev/null; echo $?`},

		// jq: 1.6
		{script: `echo '{"a":[1,{"b":null}],"c":"x"}' | jq .; echo '{"a":"x"}' | jq -r .a; echo '{"a":"x"}' | jq .a; echo '[1,2]' | jq -c .; echo '{}' | jq .x`, need: "jq"},
		{script: `echo '{"items":[{"n":"a","t":null},{"n":"b","t":false}]}' | jq -r '.items[] | " name: \(.n), token: \(.t | if . == null then "notset" else . end )"' | xargs -L 1`, need: "jq"},
		{script: `echo '{"a":1}' | jq '.a.b'`, need: "jq", differ: "gojq does not say which key"},
		{script: `echo '{"a":null}' | jq '.a[]'; echo $?; echo '[1' | jq . > /dev/null 2>&1; echo $?; echo '' | jq .; echo $?; echo '1 2' | jq -s -c .; echo '{"a":1}' | jq -e .b; echo $?`, need: "jq"},
		{script: `echo '{"a":[]}' | jq '.a, {}, [], [{}]'; echo '"a\u00e9<"' | jq .; echo '1.0 100000000 1e3 0.1' | jq .; jq -n '[1,2]|map(.+1)' -c; jq -n '"a,b"|split(",")' -c`, need: "jq"},
		{script: `echo '{"a":1}' | jq -r'.a'; echo $?`, need: "jq"},
		{script: `jq . $T/nothing; echo $?; echo 1 | jq '.['; echo $?`, need: "jq", differ: "gojq's own text for a program that it cannot read"},

		// ps, without rows
		{script: `ps -fC ''; echo $?; ps -fC; echo $?; ps -C 'a,,b' -o pid=; echo $?`},
		{script: `ps -fC no-such-command; echo $?; ps -C no-such-command -o cmd --no-headers; echo $?; ps -C no-such -o pid=; echo $?; ps -C nosuch -o pid,cmd; ps -C nosuch -o user,comm,args`},
	}
}

// diffTree makes the files of the scripts.
func diffTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range []struct {
		name, content string
		mode          os.FileMode
	}{
		{"a.txt", "one\ntwo\nthree\n", 0o644},
		{"words", "two words\ntwofold\nxtwo\ntwo\nTWO\nt.o\n", 0o600},
		{"groups", "e\nx\ny\nz\ne\n", 0o640},
		{"flags", "a --flag=x --other-flag /p/q\nb -v\nc\n", 0o644},
		{"enc.yaml", "kind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - secretbox:\n      keys: []\n", 0o600},
		{"empty", "", 0o644},
		{"a'b", "quote\n", 0o644},
		{"setuid", "x", 0o4755},
		{"sorted1", "a\nb\nc\n", 0o644},
		{"sorted2", "b\nd\n", 0o644},
		{"dir/x.crt", "crt\n", 0o644},
		{"dir/b.key", "key\n", 0o600},
		{"sticky/none", "", 0o400},
	} {
		name := filepath.Join(dir, f.name)
		check(t, os.MkdirAll(filepath.Dir(name), 0o755))
		check(t, os.WriteFile(name, []byte(f.content), 0o600))
		check(t, syscallChmod(name, f.mode))
	}
	check(t, syscallChmod(filepath.Join(dir, "sticky"), 0o1777))
	check(t, os.Symlink(filepath.Join(dir, "a.txt"), filepath.Join(dir, "link")))
	check(t, os.Symlink("dir", filepath.Join(dir, "dirlink")))
	check(t, os.Mkdir(filepath.Join(dir, "loop"), 0o755))
	check(t, os.Symlink("..", filepath.Join(dir, "loop/up")))
	return dir
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAgainstRealTools runs every script here and in the real shell.
func TestAgainstRealTools(t *testing.T) {
	dir := diffTree(t)
	root := os.DirFS("/")
	users, err := node.ReadUsers(root)
	check(t, err)
	env := []string{"PATH=" + defaultPath, "LC_ALL=C", "HOME=/root"}
	for _, tc := range diffCases() {
		t.Run(tc.script, func(t *testing.T) {
			name := tc.shell
			if name == "" {
				name = "sh"
			}
			for _, need := range []string{name, tc.need} {
				if need == "" {
					continue
				}
				if _, err := exec.LookPath(need); err != nil {
					t.Skipf("needs %s", need)
				}
			}
			script := strings.ReplaceAll(tc.script, "$T", dir)
			real := exec.CommandContext(t.Context(), name)
			if name == "sh" || name == "dash" {
				real.Args = []string{defaultShell}
			}
			real.Stdin = strings.NewReader(script)
			real.Env = env
			real.Dir = "/"
			var want bytes.Buffer
			real.Stdout, real.Stderr = &want, &want
			status := 0
			if err := real.Run(); err != nil {
				var exit *exec.ExitError
				if !errors.As(err, &exit) {
					t.Fatal(err)
				}
				status = exit.ExitCode()
			}
			r := &Runner{FS: root, Users: users, Env: env}
			if name != "bash" {
				r.Dialect = DialectOf(root)
			}
			if name == "dash" {
				r.Dialect = Dash
			}
			got := r.Run(t.Context(), script)
			if code := exitCode(t, got.Err); code != status {
				t.Errorf("status %d, want %d", code, status)
			}
			if tc.differ != "" {
				return
			}
			if diff := cmp.Diff(lines(want.String(), tc.sorted), lines(got.Output, tc.sorted)); diff != "" {
				t.Errorf("output (- real, + ours):\n%s", diff)
			}
		})
	}
}
