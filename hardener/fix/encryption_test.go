package fix

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

const (
	secretsFile = "etc/kubernetes/ssl/secrets_encryption.yaml"
	sampleKey   = "abcdefghijklmnopqrstuvwxyzABC123"
)

// control is a control plane of a cluster whose ca.key is made of a letter.
func control(t *testing.T, letter string) fstest.MapFS {
	t.Helper()
	m := sampleNode(t)
	put(m, "etc/kubernetes/ssl/ca.key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte(strings.Repeat(letter, 64))})), 0o600, 0, 0)
	return m
}

func encrypting(t *testing.T, m fstest.MapFS, phase Phase, key string, findings ...Finding) (Plan, fstest.MapFS, error) {
	t.Helper()
	plan, err := Make(Input{FS: m, Facts: sampleFacts(true), Findings: findings, Gated: true, Phase: phase, EncryptionKey: key})
	if err != nil {
		return plan, m, err
	}
	for _, g := range plan.Groups {
		for i, c := range g.Changes {
			if strings.Contains(c.Diff, base64.StdEncoding.EncodeToString([]byte(sampleKey))) || strings.Contains(c.Diff, sampleKey) {
				t.Errorf("%s: the diff tells the key:\n%s", phase, c.Diff)
			}
			if strings.HasSuffix(c.Path, ".yaml") && strings.Contains(c.Path, "manifests") && i != len(g.Changes)-1 {
				t.Errorf("%s: the manifest is not written last", phase)
			}
		}
	}
	return plan, applied(t, m, plan), nil
}

// first is the first provider of the file, as the API server's own types have it.
func first(t *testing.T, m fstest.MapFS) string {
	t.Helper()
	var c apiserverv1.EncryptionConfiguration
	if err := yaml.UnmarshalStrict(m[secretsFile].Data, &c); err != nil {
		t.Fatalf("the API server would not start: %v", err)
	}
	if len(c.Resources) != 1 || len(c.Resources[0].Providers) != 2 {
		t.Fatalf("it is not of one group and two providers: %+v", c)
	}
	names := map[bool]string{}
	for i, p := range c.Resources[0].Providers {
		switch {
		case p.Secretbox != nil && len(p.Secretbox.Keys) == 1 && p.Secretbox.Keys[0].Name == "key":
			if got, _ := base64.StdEncoding.DecodeString(p.Secretbox.Keys[0].Secret); string(got) != sampleKey {
				t.Errorf("the key is %q", got)
			}
			names[i == 0] = "secretbox"
		case p.Identity != nil:
			names[i == 0] = "identity"
		}
	}
	if len(names) != 2 || names[true] == names[false] {
		t.Errorf("providers: %+v", c.Resources[0].Providers)
	}
	return names[true]
}

// TestEncryption goes through all phases there and back.
func TestEncryption(t *testing.T) {
	const flag = "--encryption-provider-config=/etc/kubernetes/ssl/secrets_encryption.yaml"
	m := control(t, "a")
	if _, _, err := encrypting(t, m, EncryptionWrite, sampleKey); err == nil || !strings.Contains(err.Error(), "does not read with the key yet") {
		t.Errorf("writing before reading: %v", err)
	}
	if _, _, err := encrypting(t, m, EncryptionRead, "short"); err == nil {
		t.Error("a key that is none is written")
	}
	check := flagCheck("apiserver", "", "--encryption-provider-config", "", "", true)
	findings := []Finding{{Target: "s", Check: check}}
	_, reads, err := encrypting(t, m, EncryptionRead, sampleKey, findings...)
	if err != nil {
		t.Fatal(err)
	}
	if first(t, reads) != "identity" || !strings.Contains(string(reads[serverFile].Data), flag) || reads[secretsFile].Mode.Perm() != 0o600 {
		t.Errorf("reading: identity is not first, or the flag is missing:\n%s", reads[serverFile].Data)
	}
	if again, _, err := encrypting(t, reads, EncryptionRead, sampleKey); err != nil || len(again.Groups) != 0 {
		t.Errorf("reading again: %v, %+v", err, again.Groups)
	}
	if _, _, err := encrypting(t, reads, EncryptionRead, strings.ToLower(sampleKey)); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("another key: %v", err)
	}
	plan, writes, err := encrypting(t, reads, EncryptionWrite, "", findings...)
	if err != nil {
		t.Fatal(err)
	}
	if first(t, writes) != "secretbox" || plan.Decisions["s/x"].State != Planned {
		t.Errorf("writing: identity is first, or the check is not answered: %+v", plan.Decisions)
	}
	if string(writes[serverFile].Data) == string(reads[serverFile].Data) {
		t.Error("writing: the manifest is the same, so that the pod would not start anew")
	}
	for _, phase := range []Phase{EncryptionRead, EncryptionWrite, EncryptionRewrite, EncryptionLook} {
		if again, _, err := encrypting(t, writes, phase, sampleKey); err != nil || len(again.Groups) != 0 {
			t.Errorf("%s in the end: %v, %+v", phase, err, again.Groups)
		}
	}
	if _, _, err := encrypting(t, writes, EncryptionUndoRead, ""); err == nil || !strings.Contains(err.Error(), "still writes") {
		t.Errorf("the key is given up too early: %v", err)
	}
	_, plain, err := encrypting(t, writes, EncryptionUndoWrite, "")
	if err != nil || first(t, plain) != "identity" {
		t.Fatalf("writing plainly again: %v", err)
	}
	if string(plain[serverFile].Data) == string(writes[serverFile].Data) {
		t.Error("writing plainly: the manifest is the same")
	}
	_, gone, err := encrypting(t, plain, EncryptionUndoRead, "")
	if err != nil || strings.Contains(string(gone[serverFile].Data), "encryption-provider-config") || gone[secretsFile] == nil {
		t.Errorf("given up: %v\n%s", err, gone[serverFile].Data)
	}
	// And there again, with the key that is there.
	if key, err := EncryptionKeyOf(gone, sampleFacts(true)); err != nil || key != sampleKey {
		t.Errorf("the key that is left is %q, %v", key, err)
	}
}

// TestEncryptionRefused leaves alone what others have set up.
func TestEncryptionRefused(t *testing.T) {
	provider := func(text string) string {
		return "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n" + text
	}
	const identity = "  - identity: {}\n"
	secret := base64.StdEncoding.EncodeToString([]byte(sampleKey))
	for reason, tt := range map[string]struct{ file, flag, want string }{
		"elsewhere":              {"", "/etc/kubernetes/ssl/enc.yaml", "another configuration"},
		"no file":                {"", "/etc/kubernetes/ssl/secrets_encryption.yaml", "is not there"},
		"another provider":       {provider("  - aescbc: {keys: [{name: key, secret: " + secret + "}]}\n" + identity), "", "not taken over"},
		"two keys":               {provider("  - secretbox: {keys: [{name: key, secret: " + secret + "}, {name: old, secret: " + secret + "}]}\n" + identity), "", "not taken over"},
		"no identity":            {provider("  - secretbox: {keys: [{name: key, secret: " + secret + "}]}\n"), "", "not taken over"},
		"a key of bytes":         {provider("  - secretbox: {keys: [{name: key, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}]}\n" + identity), "", "letter nor a digit"},
		"writes, without a flag": {string(encryptionFile(sampleKey, true)), "", "cannot be read now"},
	} {
		m := control(t, "a")
		if tt.file != "" {
			put(m, secretsFile, tt.file, 0o600, 0, 0)
		}
		if tt.flag != "" {
			m[serverFile].Data = []byte(strings.Replace(string(m[serverFile].Data), "    - --profiling=", "    - --encryption-provider-config="+tt.flag+"\n    - --profiling=", 1))
		}
		_, _, err := encrypting(t, m, EncryptionRead, sampleKey)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", reason, err, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), sampleKey)) {
			t.Errorf("%s: the error tells the key: %v", reason, err)
		}
	}
}

func TestSeal(t *testing.T) {
	facts := node.Facts{PKIDir: "/etc/kubernetes/ssl"}
	one, other := control(t, "a"), control(t, "b")
	sealed, err := SealKey(one, facts, sampleKey)
	if err != nil || strings.Contains(sealed, sampleKey) {
		t.Fatalf("%q, %v", sealed, err)
	}
	if again, _ := SealKey(one, facts, sampleKey); again != sealed {
		t.Error("the same key is another text")
	}
	if key, err := OpenKey(control(t, "a"), facts, sealed); err != nil || key != sampleKey {
		t.Errorf("opened: %q, %v", key, err)
	}
	if _, err := OpenKey(other, facts, sealed); err == nil {
		t.Error("another authority opens it")
	}
	for i := range len(sealed) {
		broken := sealed[:i] + map[bool]string{true: "A", false: "B"}[sealed[i] != 'A'] + sealed[i+1:]
		// The last letter's bits are not all of it.
		if key, err := OpenKey(one, facts, broken); err == nil && key != sampleKey {
			t.Errorf("letter %d changed: %q", i, key)
		}
	}
	if different, _ := SealKey(one, facts, strings.ToLower(sampleKey)); different[:16] == sealed[:16] {
		t.Error("two keys are sealed with one nonce")
	}
	delete(one, "etc/kubernetes/ssl/ca.key")
	if _, err := SealKey(one, facts, sampleKey); err == nil {
		t.Error("sealed without ca.key")
	}
}

func TestNewEncryptionKey(t *testing.T) {
	seen := map[string]bool{}
	count := map[byte]int{}
	for range 2000 {
		key := NewEncryptionKey()
		if err := validKey(key); err != nil || seen[key] {
			t.Fatalf("%v, twice: %v", err, seen[key])
		}
		seen[key] = true
		for i := range len(key) {
			count[key[i]]++
		}
	}
	for i := range len(keyLetters) { // about 1032 each
		if n := count[keyLetters[i]]; n < 850 || n > 1250 {
			t.Error(fmt.Sprintf("%q comes %d times in 64000", keyLetters[i], n))
		}
	}
}
