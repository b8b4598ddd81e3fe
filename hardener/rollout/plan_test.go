package rollout

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func worker(name string) Node {
	return Node{Name: name, Ready: true, Labels: map[string]string{"kubernetes.io/os": "linux"}}
}

func control(name, address string) Node {
	return Node{Name: name, Ready: true, ControlPlane: true, Addresses: []string{name, address}}
}

func (n Node) down() Node {
	n.Ready, n.NotReady = false, "kubelet stopped posting node status"
	return n
}
func (n Node) cordoned() Node { n.Cordoned = true; return n }
func (n Node) at(a string) Node {
	n.Addresses = append(n.Addresses, a)
	return n
}

func (n Node) labelled(key, value string) Node {
	n.Labels = map[string]string{key: value}
	return n
}

func TestNewPlan(t *testing.T) {
	ha := Cluster{
		Nodes: []Node{control("cp2", "10.0.0.2"), worker("w2"), control("cp1", "10.0.0.1"), worker("w1")},
		Etcd:  []string{"10.0.0.1", "10.0.0.2", "10.0.0.9"},
	}
	changed := func(change func(nodes []Node)) Cluster {
		c := Cluster{Nodes: append([]Node(nil), ha.Nodes...), Etcd: ha.Etcd}
		change(c.Nodes)
		return c
	}
	broken := "the control plane is not whole: cp2: it is not Ready: kubelet stopped posting node status"
	tests := map[string]struct {
		cluster Cluster
		choice  Choice
		want    Plan
	}{
		"workers first, by name; a member on no node is out of reach": {
			ha, Choice{Disruptive: true},
			Plan{Workers: []string{"w1", "w2"}, Serial: []string{"cp1", "cp2"}, Parallel: 1, EtcdOnly: []string{"10.0.0.9"}},
		},
		"a worker with an etcd member is no worker": {
			Cluster{Nodes: []Node{control("cp1", "10.0.0.1"), worker("e1").at("10.0.0.5"), worker("w1")}, Etcd: []string{"10.0.0.1", "10.0.0.5"}},
			Choice{},
			Plan{Workers: []string{"w1"}, Serial: []string{"e1", "cp1"}, Parallel: 1},
		},
		"members are found by name, by any spelling of an address, and on loopback": {
			Cluster{Nodes: []Node{control("cp1", "fd00::1"), worker("e1")}, Etcd: []string{"fd00:0:0::1", "e1", "127.0.0.1", "::1", "localhost"}},
			Choice{},
			Plan{Serial: []string{"e1", "cp1"}, Parallel: 1},
		},
		"a worker that is down or cordoned is said, not waited for": {
			changed(func(n []Node) { n[1], n[3] = n[1].down(), n[3].cordoned() }), Choice{Disruptive: true},
			Plan{
				Serial: []string{"cp1", "cp2"}, Parallel: 1, EtcdOnly: []string{"10.0.0.9"},
				Skipped: []Skipped{{"w1", "it is cordoned"}, {"w2", "it is not Ready: kubelet stopped posting node status"}},
			},
		},
		"a node of the control plane that is down keeps fixes from the others": {
			changed(func(n []Node) { n[0] = n[0].down() }), Choice{Disruptive: true},
			Plan{
				Workers: []string{"w1", "w2"}, Parallel: 1, EtcdOnly: []string{"10.0.0.9"},
				Skipped: []Skipped{{"cp1", broken}, {"cp2", "it is not Ready: kubelet stopped posting node status"}},
			},
		},
		"also when only others are chosen": {
			changed(func(n []Node) { n[0] = n[0].down() }), Choice{Disruptive: true, Nodes: []string{"cp1"}},
			Plan{Parallel: 1, EtcdOnly: []string{"10.0.0.9"}, Skipped: []Skipped{{"cp1", broken}}},
		},
		"a check may look at the others": {
			changed(func(n []Node) { n[0] = n[0].cordoned() }), Choice{},
			Plan{Workers: []string{"w1", "w2"}, Serial: []string{"cp1"}, Parallel: 1, EtcdOnly: []string{"10.0.0.9"}, Skipped: []Skipped{{"cp2", "it is cordoned"}}},
		},
		"other systems are no business of ours": {
			Cluster{Nodes: []Node{worker("w1").labelled("kubernetes.io/os", "windows"), worker("w2")}}, Choice{},
			Plan{Workers: []string{"w2"}, Parallel: 1, Skipped: []Skipped{{"w1", "it runs windows"}}},
		},
		"chosen by label": {
			Cluster{Nodes: []Node{worker("w1").labelled("rack", "a"), worker("w2").labelled("rack", "b")}}, Choice{Selector: "rack in (b,c)"},
			Plan{Workers: []string{"w2"}, Parallel: 1},
		},
		"no more at a time than there are": {
			ha, Choice{MaxParallel: "7"},
			Plan{Workers: []string{"w1", "w2"}, Serial: []string{"cp1", "cp2"}, Parallel: 2, EtcdOnly: []string{"10.0.0.9"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := NewPlan(tt.cluster, tt.choice)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestNewPlanRefuses(t *testing.T) {
	c := Cluster{Nodes: []Node{worker("w1")}}
	for want, choice := range map[string]Choice{
		`node "w9": the cluster has none`: {Nodes: []string{"w1", "w9"}},
		"selector":                        {Selector: "a in b"},
		"no node is chosen":               {Selector: "a=b"},
		`max-parallel "0"`:                {MaxParallel: "0"},
		`max-parallel "101%"`:             {MaxParallel: "101%"},
		`max-parallel "all"`:              {MaxParallel: "all"},
	} {
		if _, err := NewPlan(c, choice); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got error %v, want %s", choice, err, want)
		}
	}
}

func TestParallel(t *testing.T) {
	for _, tt := range []struct {
		limit   string
		workers int
		want    int
	}{{"", 0, 1}, {"", 1, 1}, {"", 10, 1}, {"", 11, 2}, {"", 1000, 100}, {"100%", 7, 7}, {"3", 1000, 3}} {
		if got, err := parallel(tt.limit, tt.workers); err != nil || got != tt.want {
			t.Errorf("%q of %d: got %d, %v; want %d", tt.limit, tt.workers, got, err, tt.want)
		}
	}
}
