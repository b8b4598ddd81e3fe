package profile

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/settings.txt")

// TestSettingsOfPlainCIS compares the distinct settings of the benchmarks for
// upstream Kubernetes with a table that was read for sense.
func TestSettingsOfPlainCIS(t *testing.T) {
	c := corpus(t)
	where := map[string][]string{}
	for _, benchmark := range plainCIS {
		targets, err := c.Targets(benchmark)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range targets {
			controls, err := c.Controls(benchmark, target, Variables{})
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range controls.Groups {
				for _, check := range g.Checks {
					settings := check.Settings()
					if check.Tests != nil && len(settings) != len(check.Tests.Items) {
						t.Errorf("%s %s %s: %d settings for %d items", benchmark, target, check.ID, len(settings), len(check.Tests.Items))
					}
					for _, s := range settings {
						key := strings.TrimRight(fmt.Sprintf("%-6s %-18s %-38s %s", s.Kind, orDash(s.Component), orDash(s.Name), s.Path), " ")
						where[key] = append(where[key], check.ID)
					}
				}
			}
		}
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(where)) {
		ids := slices.Compact(slices.Sorted(slices.Values(where[key])))
		fmt.Fprintf(&b, "%-110s # %s\n", key, strings.Join(ids, " "))
	}
	const golden = "testdata/settings.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); d != "" {
		t.Errorf("settings changed (-want +got), run with -update after a look:\n%s", d)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
