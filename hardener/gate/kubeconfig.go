package gate

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// kubeconfig reads the current context of a kubeconfig of the host, with the
// files it names, all from the host's tree; as for kubectl, data in it count more
// than a file beside them, and what other contexts name is not looked at.
// Credentials that come from a program are refused: nothing is run here.
func kubeconfig(fsys fs.FS, file string) (*rest.Config, error) {
	data, err := fs.ReadFile(fsys, node.Name(file))
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		// clientcmd's errors quote the text, which may be a key.
		return nil, fmt.Errorf("kubeconfig %s: cannot be parsed", file)
	}
	inline := func(name *string, data *[]byte) error {
		if *name == "" || len(*data) > 0 {
			*name = ""
			return nil
		}
		p := *name
		if !path.IsAbs(p) {
			p = path.Join(path.Dir(file), p)
		}
		*name = ""
		*data, err = fs.ReadFile(fsys, node.Name(p))
		return err
	}
	current := config.Contexts[config.CurrentContext]
	if current == nil {
		current = &clientcmdapi.Context{} // which clientcmd complains of
	}
	if c := config.Clusters[current.Cluster]; c != nil {
		if err := inline(&c.CertificateAuthority, &c.CertificateAuthorityData); err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
		}
	}
	if u := config.AuthInfos[current.AuthInfo]; u != nil {
		if u.Exec != nil || u.AuthProvider != nil {
			return nil, fmt.Errorf("kubeconfig %s: its credentials come from a program", file)
		}
		var token []byte
		for _, named := range []struct {
			name *string
			data *[]byte
		}{{&u.ClientCertificate, &u.ClientCertificateData}, {&u.ClientKey, &u.ClientKeyData}, {&u.TokenFile, &token}} {
			if err := inline(named.name, named.data); err != nil {
				return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
			}
		}
		if len(token) > 0 {
			u.Token = strings.TrimSpace(string(token))
		}
	}
	r, err := clientcmd.NewNonInteractiveClientConfig(*config, config.CurrentContext, &clientcmd.ConfigOverrides{
		ClusterDefaults: clientcmdapi.Cluster{}, // not the KUBERNETES_MASTER of the environment
	}, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
	}
	return r, nil
}
