package gate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What needs an etcd is tested on one, in tests/e2e. Here is a cluster whose
// members disagree, which a real one does only for moments.

type fakeMember struct {
	id, leader  string
	term, index uint64
	health      string
	down        bool
	catchUp     bool // its index grows
	learner     bool
	errors      []string
}

func fakeEtcd(t *testing.T, of []*fakeMember, alarms string) *members {
	t.Helper()
	var list []map[string]any
	var own string
	for i, m := range of {
		mux := http.NewServeMux()
		answer := func(path string, value func() any) {
			mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
				if m.down {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				json.NewEncoder(w).Encode(value())
			})
		}
		answer("GET /health", func() any { return map[string]string{"health": m.health} })
		answer("POST /v3/maintenance/status", func() any {
			if m.catchUp {
				m.index += 100
			}
			return map[string]any{
				"header": map[string]string{"member_id": m.id}, "leader": m.leader,
				"raftTerm": fmt.Sprint(m.term), "raftIndex": fmt.Sprint(m.index), "errors": m.errors,
			}
		})
		answer("POST /v3/cluster/member/list", func() any { return map[string]any{"members": list} })
		answer("POST /v3/maintenance/alarm", func() any { return json.RawMessage(alarms) })
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		list = append(list, map[string]any{"ID": m.id, "name": "etcd" + m.id, "clientURLs": []string{server.URL}, "isLearner": m.learner})
		if i == 0 {
			own = server.URL
		}
	}
	return &members{&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, own, quick}
}

func TestHealthy(t *testing.T) {
	for _, c := range []struct {
		reason string
		change func(m []*fakeMember)
		alarms string
		want   string
	}{
		{reason: "healthy"},
		{reason: "one lags and catches up", change: func(m []*fakeMember) { m[1].index, m[1].catchUp = 10, true }},
		{reason: "a learner", change: func(m []*fakeMember) { m[1].learner, m[1].health = true, "false" }},
		{reason: "down", change: func(m []*fakeMember) { m[2].down = true }, want: "member etcd3 (3): POST"},
		{reason: "own down", change: func(m []*fakeMember) { m[0].down = true }, want: "503"},
		{reason: "unhealthy", change: func(m []*fakeMember) { m[1].health = "false" }, want: `member etcd2 (2): health is "false"`},
		{reason: "two leaders", change: func(m []*fakeMember) { m[1].leader = "2" }, want: "has leader 2 in term 7, and member 1 has leader 1 in term 7"},
		{reason: "two terms", change: func(m []*fakeMember) { m[1].term = 8 }, want: "in term 8"},
		{reason: "no leader", change: func(m []*fakeMember) {
			for _, m := range m {
				m.leader = "0"
			}
		}, want: "knows no leader"},
		{reason: "errors", change: func(m []*fakeMember) { m[1].errors = []string{"NOSPACE"} }, want: "member etcd2 (2): NOSPACE"},
		{reason: "alarm", alarms: `{"alarms":[{"memberID":"2","alarm":"NOSPACE"}]}`, want: "alarm NOSPACE on member 2"},
	} {
		members := []*fakeMember{
			{id: "1", leader: "1", term: 7, index: 1000, health: "true"},
			{id: "2", leader: "1", term: 7, index: 1000, health: "true"},
			{id: "3", leader: "1", term: 7, index: 1000, health: "true"},
		}
		if c.change != nil {
			c.change(members)
		}
		if c.alarms == "" {
			c.alarms = "{}"
		}
		s, err := fakeEtcd(t, members, c.alarms).healthy(t.Context())
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.reason, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.reason, err, c.want)
		case err == nil && (s.members != 3 || s.leader != "1" || s.own != "1" || s.term != 7):
			t.Errorf("%s: %+v", c.reason, s)
		}
	}
}

// One that stays behind is waited for, then named.
func TestBehind(t *testing.T) {
	t.Parallel()
	_, err := fakeEtcd(t, []*fakeMember{
		{id: "1", leader: "1", term: 7, index: 1000, health: "true"},
		{id: "2", leader: "1", term: 7, index: 500, health: "true"},
	}, "{}").healthy(t.Context())
	if err == nil || err.Error() != "member 2 is behind, at index 500, others were at 1000" {
		t.Errorf("%v", err)
	}
}

func TestSuccessor(t *testing.T) {
	s := cluster{leader: "1", indexes: map[string]uint64{"1": 9, "2": 7, "3": 8, "4": 9}, voters: []string{"1", "2", "3"}}
	if got := s.successor(); got != "3" {
		t.Errorf("%q", got)
	}
	if got := (cluster{leader: "1", voters: []string{"1"}}).successor(); got != "" {
		t.Errorf("alone: %q", got)
	}
}

func TestOwnURL(t *testing.T) {
	for _, c := range []struct{ listen, advertise, want string }{
		{"https://10.0.0.1:2379,https://127.0.0.1:2379", "https://10.0.0.1:2379", "https://10.0.0.1:2379"},
		{"https://0.0.0.0:2379", "https://10.0.0.1:2379", "https://10.0.0.1:2379"},
		{"https://[::]:2379", "https://[fd00::1]:2379", "https://[fd00::1]:2379"},
		{"unix:///run/etcd", "", ""},
	} {
		got, err := ownURL(map[string]string{"ETCD_LISTEN_CLIENT_URLS": c.listen, "ETCD_ADVERTISE_CLIENT_URLS": c.advertise})
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: %q %v", c, got, err)
		}
	}
}
