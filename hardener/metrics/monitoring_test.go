package metrics

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const (
	alertsFile    = "../../manifests/monitoring/alerts.yaml"
	dashboardFile = "../../manifests/monitoring/dashboard.json"
	page          = "../../docs/watch.md"
)

// ours are the metrics in a text.
var ours = regexp.MustCompile(`\bhardener_[a-z_]+`)

// exported are our metrics, each with its labels as {a,b}.
func exported(t *testing.T) map[string]string {
	t.Helper()
	families, err := busy().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range families {
		if !ours.MatchString(f.GetName()) {
			continue // of the process
		}
		var labels []string
		for _, pair := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, pair.GetName())
		}
		out[f.GetName()] = strings.Join(labels, ",")
		if f.GetType().String() == "HISTOGRAM" {
			for _, end := range []string{"_bucket", "_sum", "_count"} {
				out[f.GetName()+end] = ""
			}
		}
	}
	return out
}

// series is a name without what a histogram adds.
func series(name string) string {
	for _, end := range []string{"_bucket", "_sum", "_count"} {
		name = strings.TrimSuffix(name, end)
	}
	return name
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// known wants every metric of a text to be one that is exported.
func known(t *testing.T, where, text string, all map[string]string) (used []string) {
	t.Helper()
	for _, name := range ours.FindAllString(text, -1) {
		if _, ok := all[name]; !ok {
			t.Errorf("%s: no metric %s", where, name)
		}
		used = append(used, series(name))
	}
	return used
}

func TestMonitoring(t *testing.T) {
	all := exported(t)
	used := slices.Concat(alerts(t, all), dashboard(t, all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(used, series(name)) {
			t.Errorf("%s: in no alert and on no dashboard", name)
		}
	}
}

func alerts(t *testing.T, all map[string]string) (used []string) {
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expr        string            `yaml:"expr"`
				For         string            `yaml:"for"`
				Labels      map[string]string `yaml:"labels"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(read(t, alertsFile))))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			if !strings.HasPrefix(rule.Alert, "KubesprayHardener") || seen[rule.Alert] {
				t.Errorf("alert %q: another one's name, or of no prefix of ours", rule.Alert)
			}
			seen[rule.Alert] = true
			if rule.For == "" || !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s: it lacks for, severity, summary or description: %+v", rule.Alert, rule)
			}
			in := known(t, rule.Alert, rule.Expr, all)
			if len(in) == 0 {
				t.Errorf("%s: no metric in %q", rule.Alert, rule.Expr)
			}
			used = append(used, in...)
			for _, text := range rule.Annotations {
				known(t, rule.Alert, text, all)
			}
		}
	}
	if len(seen) == 0 {
		t.Errorf("%s: no alerts", alertsFile)
	}
	return used
}

func dashboard(t *testing.T, all map[string]string) (used []string) {
	type source struct {
		UID string `json:"uid"`
	}
	var d struct {
		SchemaVersion int `json:"schemaVersion"`
		Templating    struct {
			List []struct {
				Name       string `json:"name"`
				Definition string `json:"definition"`
			} `json:"list"`
		} `json:"templating"`
		Panels []struct {
			ID         int    `json:"id"`
			Title      string `json:"title"`
			Datasource source `json:"datasource"`
			Targets    []struct {
				RefID      string `json:"refId"`
				Expr       string `json:"expr"`
				Datasource source `json:"datasource"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(read(t, dashboardFile), &d); err != nil {
		t.Fatal(err)
	}
	if d.SchemaVersion == 0 || len(d.Panels) == 0 {
		t.Errorf("%s: no dashboard", dashboardFile)
	}
	for _, variable := range d.Templating.List {
		known(t, "variable "+variable.Name, variable.Definition, all)
	}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] {
			t.Errorf("panel %q: its id %d is none, or another's", p.Title, p.ID)
		}
		ids[p.ID] = true
		if len(p.Targets) == 0 {
			t.Errorf("panel %q: no query", p.Title)
		}
		for _, target := range p.Targets {
			in := known(t, "panel "+p.Title, target.Expr, all)
			if len(in) == 0 || target.Datasource.UID != "${datasource}" || p.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q, query %s: no metric of ours, or a data source that is not chosen: %s", p.Title, target.RefID, target.Expr)
			}
			used = append(used, in...)
		}
	}
	return used
}

// TestPage wants the page to list every metric with its labels, and no other.
func TestPage(t *testing.T) {
	want := map[string]string{}
	for name, labels := range exported(t) {
		want[series(name)] += labels
	}
	rows := regexp.MustCompile("(?m)^\\| `(hardener_[a-z_]+)(?:\\{(.*)\\})?` \\|").FindAllStringSubmatch(string(read(t, page)), -1)
	for _, row := range rows {
		labels, ok := want[row[1]]
		got := strings.Split(row[2], ",")
		slices.Sort(got)
		if !ok || strings.Join(got, ",") != labels {
			t.Errorf("%s has %s with the labels %q, want %q", page, row[1], row[2], labels)
		}
		delete(want, row[1])
	}
	for name := range want {
		t.Errorf("%s does not list %s", page, name)
	}
}

// TestAlerts plays time series to the alerts, with Prometheus' own program where it
// is installed.
func TestAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed: the alerts' expressions were not evaluated")
		return
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", "testdata/alerts.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
