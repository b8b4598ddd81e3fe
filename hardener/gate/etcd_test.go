//go:build linux

package gate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
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

func fakeEtcd(t *testing.T, members []*fakeMember, alarms string) *etcdClient {
	t.Helper()
	var list []map[string]any
	var own string
	for i, m := range members {
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
				"header": map[string]string{"member_id": m.id}, "version": "3.6.5", "leader": m.leader,
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
	return &etcdClient{&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, own}
}

func TestEtcdHealthy(t *testing.T) {
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
		case err == nil && (s.Members != 3 || s.Leader != "1" || s.Own != "1" || s.Term != 7 || s.Version != "3.6.5"):
			t.Errorf("%s: %+v", c.reason, s)
		}
	}
}

// One that stays behind is waited for, then named.
func TestEtcdBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: waits for a member that never catches up")
	}
	t.Parallel()
	_, err := fakeEtcd(t, []*fakeMember{
		{id: "1", leader: "1", term: 7, index: 1000, health: "true"},
		{id: "2", leader: "1", term: 7, index: 500, health: "true"},
	}, "{}").healthy(t.Context())
	if err == nil || err.Error() != "member 2 is behind, at index 500, others were at 1000" {
		t.Errorf("%v", err)
	}
}

func TestEtcdSuccessor(t *testing.T) {
	s := EtcdState{Leader: "1", indexes: map[string]uint64{"1": 9, "2": 7, "3": 8, "4": 9}, voters: []string{"1", "2", "3"}}
	if got := s.successor(); got != "3" {
		t.Errorf("%q", got)
	}
	if got := (EtcdState{Leader: "1", voters: []string{"1"}}).successor(); got != "" {
		t.Errorf("alone: %q", got)
	}
}

func TestEtcdOwnURL(t *testing.T) {
	for _, c := range []struct{ listen, advertise, want string }{
		{"https://10.0.0.1:2379,https://127.0.0.1:2379", "https://10.0.0.1:2379", "https://10.0.0.1:2379"},
		{"https://0.0.0.0:2379", "https://10.0.0.1:2379", "https://10.0.0.1:2379"},
		{"https://[::]:2379", "https://[fd00::1]:2379", "https://[fd00::1]:2379"},
		{"unix:///run/etcd", "", ""},
	} {
		got, err := etcdOwnURL(map[string]string{"ETCD_LISTEN_CLIENT_URLS": c.listen, "ETCD_ADVERTISE_CLIENT_URLS": c.advertise})
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: %q %v", c, got, err)
		}
	}
}

func TestEtcdEnvironmentInForce(t *testing.T) {
	const env = "ETCD_NAME=etcd1\nETCD_DATA_DIR=/var/lib/etcd\nETCD_METRICS=\nETCDCTL_CERT=/x\n# ETCD_NOT=set\n"
	for _, c := range []struct {
		reason, comm, environ, want string
	}{
		{"all there", "etcd", "ETCD_NAME=etcd1\x00ETCD_DATA_DIR=/var/lib/etcd\x00ETCD_METRICS=\x00PATH=/bin\x00", ""},
		{"an old value", "etcd", "ETCD_NAME=etcd1\x00ETCD_DATA_DIR=/old\x00", "process 7 does not have what /etc/etcd.env say: ETCD_DATA_DIR"},
		{"started by another", "docker", "PATH=/bin\x00", ""},
	} {
		g := &EtcdGate{
			FS: fstest.MapFS{
				"etc/etcd.env":   {Data: []byte(env)},
				"proc/7/comm":    {Data: []byte(c.comm + "\n")},
				"proc/7/environ": {Data: []byte(c.environ)},
				"proc/8/comm":    {Data: []byte("etcd\n")},
				"proc/8/environ": {Data: []byte("ETCD_NAME=events\x00ETCD_DATA_DIR=/var/lib/etcd-events\x00")},
				"proc/9/comm":    {Data: []byte("etcd\n")},
				"proc/9/environ": {Data: []byte("ETCD_NAME=etcd1\x00ETCD_DATA_DIR=/var/lib/etcd\x00")},
			},
			Etcd: node.Component{EnvFiles: []string{"/etc/etcd.env"}},
		}
		err := g.environmentInForce(7)
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%s: %v, want %q", c.reason, err, c.want)
		}
	}
}
