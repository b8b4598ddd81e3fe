package images

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The bill of materials fits CycloneDX's own schema, which comes with the
// module that writes it.
func TestSBOMFitsTheSchema(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	for id, file := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "schema", file))
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource("http://cyclonedx.org/schema/"+id, document); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	sbom := mustNew(t, made(t)).SBOM()
	fits := func(data []byte) error {
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			return err
		}
		return schema.Validate(document)
	}
	if err := fits(sbom); err != nil {
		t.Error(err)
	}
	if fits(bytes.Replace(sbom, []byte("Apache-2.0"), []byte("Apache-9"), 1)) == nil {
		t.Error("the schema takes a licence that does not exist")
	}
}

// Every program is in it with its own digest and with what it needs, and the
// same content gives the same text.
func TestSBOM(t *testing.T) {
	image := mustNew(t, made(t))
	if !bytes.Equal(image.SBOM(), mustNew(t, made(t)).SBOM()) {
		t.Error("another text for the same content")
	}
	var bom cdx.BOM
	if err := json.Unmarshal(image.SBOM(), &bom); err != nil {
		t.Fatal(err)
	}
	if hash := (*bom.Metadata.Component.Hashes)[0].Value; "sha256:"+hash != image.Digest() {
		t.Errorf("is of %s, want %s", hash, image.Digest())
	}
	needs := map[string][]string{}
	for _, d := range *bom.Dependencies {
		needs[d.Ref] = *d.Dependencies
	}
	for _, platform := range Platforms() {
		if !slices.Contains(needs["image"], "hardener "+platform) {
			t.Errorf("the image does not need the program for %s", platform)
		}
		for _, want := range []string{"pkg:golang/std@1.", "pkg:golang/github.com/aquasecurity/kube-bench@v0.15.6"} {
			if !slices.ContainsFunc(needs["hardener "+platform], func(ref string) bool { return strings.HasPrefix(ref, want) }) {
				t.Errorf("%s: does not need %s: %q", platform, want, needs["hardener "+platform])
			}
		}
	}
}
