package gate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// The Secrets of a cluster: that every API server reads all of them, and in what
// form they lie in etcd. No value of any is told or kept.

// secretsPage is how many Secrets are read at once; one may have a MiB.
const secretsPage = 40

// listing is what an API server says of all Secrets.
type listing struct {
	count int
	hash  string // of names, versions and contents
}

// secrets lists all Secrets through an API server, as they were at a version of
// the cluster, or "" as they are. It returns that version too.
func (a *api) secrets(ctx context.Context, at string) (l listing, version string, err error) {
	var all []string
	query := url.Values{"limit": {strconv.Itoa(secretsPage)}}
	if at != "" {
		query.Set("resourceVersion", at)
		query.Set("resourceVersionMatch", "Exact")
	}
	for {
		var page struct {
			Metadata struct{ Continue, ResourceVersion string }
			Items    []json.RawMessage
		}
		if err := a.get(ctx, "/api/v1/secrets?"+query.Encode(), &page); err != nil {
			return l, "", err
		}
		version = page.Metadata.ResourceVersion
		for _, item := range page.Items {
			var one struct {
				Metadata struct{ Namespace, Name, ResourceVersion string }
				Data     map[string][]byte
				Type     string
			}
			if err := json.Unmarshal(item, &one); err != nil {
				return l, "", fmt.Errorf("%s: secrets: not what was asked for", a.base)
			}
			content, err := json.Marshal(one) // maps are sorted
			if err != nil {
				return l, "", err
			}
			sum := sha256.Sum256(content)
			all = append(all, one.Metadata.Namespace+"/"+one.Metadata.Name+" "+hex.EncodeToString(sum[:]))
		}
		if page.Metadata.Continue == "" {
			break
		}
		query = url.Values{"limit": {strconv.Itoa(secretsPage)}, "continue": {page.Metadata.Continue}}
	}
	slices.Sort(all)
	sum := sha256.Sum256([]byte(strings.Join(all, "\n")))
	return listing{len(all), hex.EncodeToString(sum[:8])}, version, nil
}

// everyServer is each API server of the cluster, on its own address.
func (g *Gates) everyServer(ctx context.Context) ([]*api, error) {
	at, _, own, err := g.ownServer()
	if err != nil {
		return nil, err
	}
	addresses, err := own.serverAddresses(ctx)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		return nil, errors.New("no API server has registered its address")
	}
	config, err := kubeconfig(g.FS, g.adminConf(at.facts))
	if err != nil {
		return nil, err
	}
	slices.Sort(addresses)
	var all []*api
	for _, address := range slices.Compact(addresses) {
		a, err := newAPI(config, address, max(g.Limits.Request, 30*time.Second))
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// SecretsAgree holds when every API server of the cluster, each on its own address,
// lists the same Secrets with the same contents at one version of the cluster. It
// is tried again for up to Limits.Serve: a version may be too new for one server.
func (g *Gates) SecretsAgree(ctx context.Context) error {
	for end := time.Now().Add(g.Limits.Serve); ; {
		err := g.secretsAgree(ctx)
		if err == nil || time.Now().After(end) || sleep(ctx, 2*g.Limits.Poll) != nil {
			return err
		}
	}
}

func (g *Gates) secretsAgree(ctx context.Context) error {
	servers, err := g.everyServer(ctx)
	if err != nil {
		return err
	}
	var first listing
	at := ""
	for i, a := range servers {
		l, version, err := a.secrets(ctx, at)
		if err != nil {
			return fmt.Errorf("not every API server reads all Secrets: %w", err)
		}
		switch {
		case i == 0:
			first, at = l, version
		case l != first:
			return fmt.Errorf("API servers read Secrets otherwise: %s has %d (%s), %s has %d (%s)", servers[0].base, first.count, first.hash, a.base, l.count, l.hash)
		}
	}
	g.once("apiserver: %d API servers list the same %d Secrets", len(servers), first.count)
	return nil
}

// SecretsWritten proves what an API server writes: a Secret that is made through
// this node's is read through every other, and lies in etcd with a prefix, or with
// "" plainly. It is deleted again.
func (g *Gates) SecretsWritten(ctx context.Context, prefix string) (err error) {
	_, p, own, err := g.ownServer()
	if err != nil {
		return err
	}
	store, err := g.storage(p)
	if err != nil {
		return err
	}
	const namespace = "kube-system"
	var made struct {
		Metadata struct{ Name, ResourceVersion string }
	}
	if _, err := own.do(ctx, http.MethodPost, "/api/v1/namespaces/"+namespace+"/secrets", map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"generateName": "kubespray-hardener-"},
		"stringData": map[string]string{"is": "no secret"},
	}, &made); err != nil {
		return fmt.Errorf("make a Secret: %w", err)
	}
	path := "/api/v1/namespaces/" + namespace + "/secrets/" + made.Metadata.Name
	defer func() {
		_, gone := own.do(context.WithoutCancel(ctx), http.MethodDelete, path, nil, nil)
		if gone != nil {
			err = errors.Join(err, fmt.Errorf("delete %s: %w", path, gone))
		}
	}()
	servers, err := g.everyServer(ctx)
	if err != nil {
		return err
	}
	for _, a := range servers {
		var read struct{ Data map[string][]byte }
		if err := a.get(ctx, path, &read); err != nil {
			return fmt.Errorf("what this API server writes is not read by another: %w", err)
		}
		if string(read.Data["is"]) != "no secret" {
			return fmt.Errorf("what this API server writes is read otherwise by %s", a.base)
		}
	}
	values, err := store.list(ctx, store.prefix+"/secrets/"+namespace+"/"+made.Metadata.Name, prefix)
	switch {
	case err != nil:
		return err
	case values.all != 1 || len(values.others) > 0:
		return fmt.Errorf("in etcd a new Secret does not begin with %q", prefix)
	}
	return nil
}

// SecretsStored holds when every Secret lies in etcd with a prefix, or with ""
// plainly.
func (g *Gates) SecretsStored(ctx context.Context, prefix string) error {
	_, p, _, err := g.ownServer()
	if err != nil {
		return err
	}
	store, err := g.storage(p)
	if err != nil {
		return err
	}
	values, err := store.list(ctx, store.prefix+"/secrets/", prefix)
	if err != nil {
		return err
	}
	if n := len(values.others); n > 0 {
		return fmt.Errorf("in etcd %d of %d Secrets do not begin with %q", n, values.all, cmp.Or(prefix, "their plain form"))
	}
	return nil
}

// EveryServerHas holds when every API server's pod has a flag with this value.
func (g *Gates) EveryServerHas(ctx context.Context, flag, value string) error {
	_, _, own, err := g.ownServer()
	if err != nil {
		return err
	}
	pods, err := own.pods(ctx, "labelSelector", "component=kube-apiserver")
	if err != nil {
		return err
	}
	servers, err := g.everyServer(ctx)
	if err != nil {
		return err
	}
	if len(pods) < len(servers) {
		return fmt.Errorf("%d API servers are registered, and %d have a pod that tells their flags", len(servers), len(pods))
	}
	for _, p := range pods {
		if len(p.Spec.Containers) == 0 {
			return fmt.Errorf("pod %s has no container", p.path())
		}
		if got, _ := node.FlagValue(slices.Concat(p.Spec.Containers[0].Command, p.Spec.Containers[0].Args), flag); got != value {
			return fmt.Errorf("the API server of node %s does not run with --%s=%s", p.Spec.NodeName, flag, value)
		}
	}
	return nil
}
