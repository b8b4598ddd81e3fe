package gate

import (
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Credentials from a program would run it; files are read inside the tree.
func TestKubeconfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.APIServer)
	c, err := kubeconfig(w.tree, "/etc/kubernetes/admin.conf")
	if err != nil || len(c.CAData) == 0 || c.CAFile != "" || c.BearerToken != "secret-token" {
		t.Errorf("%v", err)
	}
	const with = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n" +
		"clusters: [{name: c, cluster: {server: 'https://example.com'}}]\nusers: [{name: u, user: {"
	for user, words := range map[string][]string{
		"exec: {command: /bin/true, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}": {"from a program"},
		"client-certificate: missing.crt, client-key: missing.key":                                        {"missing.crt"},
		"token: [secret-token": {"cannot be parsed"},
		"client-certificate-data: IyM=, client-certificate: missing.crt, client-key-data: IyM=, client-key: missing.key, tokenFile: text": nil, // data count more
		"tokenFile: text}}, {name: v, user: {client-key: missing.key":                                                                     nil, // that of another context
		"tokenFile: /etc/kubernetes/text": nil,
	} {
		w.write("etc/kubernetes/text", "from-file\n")
		w.write("etc/kubernetes/x.conf", with+user+"}}]\n")
		c, err := kubeconfig(w.tree, "/etc/kubernetes/x.conf")
		wants(t, err, words...)
		if err == nil && c.BearerToken != "from-file" {
			t.Error("the token of a file is not used")
		}
	}
}
