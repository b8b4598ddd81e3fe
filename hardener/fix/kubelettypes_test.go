package fix

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/format"
	"os"
	"reflect"
	"strings"
	"testing"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

var updateTypes = flag.Bool("update-types", false, "write kubelettypes.go again, after another k8s.io/kubelet was required")

const typesHeader = `package fix

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kubeletConfiguration has the fields of k8s.io/kubelet/config/v1beta1's
// KubeletConfiguration, under the same names in JSON and of the same kinds. The
// package itself is not used because it brings in Kubernetes' logging and its
// metrics, whose start-up is a tenth of a whole check's time.
//
// This file is written by: go test ./hardener/fix -run TestKubeletTypes -update-types
`

// TestKubeletTypes keeps kubelettypes.go equal to the real type.
func TestKubeletTypes(t *testing.T) {
	w := typeWriter{seen: map[string]bool{}}
	w.queue = append(w.queue, reflect.TypeFor[kubeletv1beta1.KubeletConfiguration]())
	w.out.WriteString(typesHeader)
	for i := 0; i < len(w.queue); i++ {
		w.define(w.queue[i])
	}
	want, err := format.Source(w.out.Bytes())
	if err != nil {
		t.Fatalf("generated source: %v", err)
	}
	const file = "kubelettypes.go"
	if *updateTypes {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what k8s.io/kubelet has: run this test with -update-types", file)
	}
}

// typeWriter writes struct types as source, field by field.
type typeWriter struct {
	out   bytes.Buffer
	queue []reflect.Type
	seen  map[string]bool
}

func localName(t reflect.Type) string {
	return strings.ToLower(t.Name()[:1]) + t.Name()[1:]
}

func (w *typeWriter) define(t reflect.Type) {
	if w.seen[t.String()] {
		return
	}
	w.seen[t.String()] = true
	if w.out.Len() > len(typesHeader) {
		w.out.WriteString("\n")
	}
	fmt.Fprintf(&w.out, "type %s struct {\n", localName(t))
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous {
			fmt.Fprintf(&w.out, "\t%s `json:%q`\n", w.name(f.Type), tag)
			continue
		}
		fmt.Fprintf(&w.out, "\t%s %s `json:%q`\n", f.Name, w.name(f.Type), tag)
	}
	w.out.WriteString("}\n")
}

// name is how a type is written. Named types without fields of their own are
// written as what they are; those of packages that cost nothing by name.
func (w *typeWriter) name(t reflect.Type) string {
	switch t.PkgPath() {
	case "k8s.io/apimachinery/pkg/apis/meta/v1":
		return "metav1." + t.Name()
	case "k8s.io/api/core/v1":
		return "corev1." + t.Name()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return "any" // it reads itself, in several forms
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + w.name(t.Elem())
	case reflect.Slice:
		return "[]" + w.name(t.Elem())
	case reflect.Map:
		return "map[" + w.name(t.Key()) + "]" + w.name(t.Elem())
	case reflect.Struct:
		w.queue = append(w.queue, t)
		return localName(t)
	}
	return t.Kind().String()
}
