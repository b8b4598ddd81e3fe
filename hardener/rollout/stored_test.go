package rollout

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// TestStored has two pages of reports: of nodes that are done, failed, under way,
// and no longer part of the plan. One node has none.
func TestStored(t *testing.T) {
	item := func(node, annotations string) string {
		return fmt.Sprintf(`{"metadata":{"name":"report-%[1]s","annotations":{"kubespray-hardener/node":%[1]q%[2]s}}}`, node, annotations)
	}
	pages := map[string]string{
		"":    `{"metadata":{"continue":"a+b"},"items":[` + item("w1", `,"kubespray-hardener/exit":"1"`) + "," + item("w9", `,"kubespray-hardener/exit":"0"`) + `]}`,
		"a+b": `{"metadata":{},"items":[` + item("w2", `,"kubespray-hardener/exit":"3","kubespray-hardener/error":"it broke"`) + "," + item("w3", "") + `]}`,
	}
	state, err := json.Marshal(state{ID: "id", Plan: Plan{Workers: []string{"w1", "w2", "w3", "w4"}}})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if strings.HasSuffix(r.URL.Path, "/rollout") {
			json.NewEncoder(w).Encode(map[string]any{"data": map[string]string{stateKey: string(state)}})
			return
		}
		if r.FormValue("labelSelector") != "kubespray-hardener/rollout=id" {
			t.Errorf("asked for %s", r.URL)
		}
		io.WriteString(w, pages[r.FormValue("continue")])
	}))
	defer server.Close()
	api, err := Connect(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Stored(t.Context(), api)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, n := range c.Nodes {
		got += fmt.Sprintf("%s %s %s\n", n.Name, n.State, n.Reason)
	}
	if want := "w1 done \nw2 failed it broke\nw3 left its program has said nothing of itself\nw4 left its program has said nothing of itself\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if asked != 3 {
		t.Errorf("%d requests, want one for the state and one for each page", asked)
	}
	pages["a+b"] = `{"items":[` + item("w2", `,"kubespray-hardener/exit":"no number"`) + `]}`
	if _, err := Stored(t.Context(), api); err == nil || !strings.Contains(err.Error(), "report-w2") {
		t.Errorf("got %v, want an error that names the report", err)
	}
}
