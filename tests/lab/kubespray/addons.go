package kubespray

import "strings"

// Addons returns what Kubespray applies to a running cluster, as YAML documents
// for kubectl apply: the binding kubespray:system:node, the priority class
// k8s-cluster-critical, CoreDNS and nodelocaldns.
func (c *Cluster) Addons() ([]byte, error) {
	v, err := c.view(c.group(ControlPlane)[0])
	if err != nil {
		return nil, err
	}
	return v.render("addons.yaml")
}

// Corefile is CoreDNS's configuration, indented as the value in its ConfigMap.
func (v view) Corefile() (string, error) { return v.indented("coredns.Corefile") }

// NodeCorefile is nodelocaldns' configuration, indented in the same way.
func (v view) NodeCorefile() (string, error) { return v.indented("nodelocaldns.Corefile") }

func (v view) indented(name string) (string, error) {
	content, err := v.render(name)
	text := strings.TrimSuffix(string(content), "\n")
	return "    " + strings.ReplaceAll(text, "\n", "\n    "), err
}
