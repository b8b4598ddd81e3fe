package gate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
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

// RewriteSecrets has the API server of this node write every Secret anew that does
// not lie in etcd with a prefix, or with "" plainly, until none is left. Then every
// API server has to list the same, and none may have failed to transform anything
// meanwhile. Progress is told with numbers, never names.
func (g *Gates) RewriteSecrets(ctx context.Context, prefix string) error {
	_, p, own, err := g.ownServer()
	if err != nil {
		return err
	}
	store, err := g.storage(p)
	if err != nil {
		return err
	}
	before, err := g.failedTransformations(ctx)
	if err != nil {
		return err
	}
	const rounds = 5
	for round := 1; ; round++ {
		values, err := store.list(ctx, store.prefix+"/secrets/", prefix)
		if err != nil {
			return err
		}
		g.log("apiserver: %d of %d Secrets in etcd are to be written anew", len(values.others), values.all)
		if len(values.others) == 0 {
			break
		}
		if round > rounds {
			return fmt.Errorf("after %d rounds %d Secrets still lie in etcd as before", rounds, len(values.others))
		}
		for _, key := range values.others {
			namespace, name, ok := strings.Cut(strings.TrimPrefix(key, store.prefix+"/secrets/"), "/")
			if !ok {
				return errors.New("etcd has a Secret under a key that is none")
			}
			if err := own.rewrite(ctx, namespace, name); err != nil {
				return fmt.Errorf("Secret %s/%s: written anew: %w", namespace, name, err)
			}
		}
	}
	if err := g.SecretsAgree(ctx); err != nil {
		return err
	}
	after, err := g.failedTransformations(ctx)
	if err != nil {
		return err
	}
	for server, n := range after {
		if was, ok := before[server]; ok && n > was {
			return fmt.Errorf("%s failed to read or write %g times meanwhile (apiserver_storage_transformation_operations_total)", server, n-was)
		}
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

// rewrite writes a Secret as it is. The API server does write it, because its form
// in etcd is not that of the first provider (k8s.io/apiserver/pkg/storage/etcd3,
// GuaranteedUpdate: stale). One that is gone needs nothing.
func (a *api) rewrite(ctx context.Context, namespace, name string) error {
	path := "/api/v1/namespaces/" + namespace + "/secrets/" + name
	var err error
	for range 5 {
		var object json.RawMessage
		if err = a.get(ctx, path, &object); err == nil {
			_, err = a.do(ctx, http.MethodPut, path, object, nil)
		}
		var s *statusError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &s) && s.Code == http.StatusNotFound:
			return nil
		case errors.As(err, &s) && s.Code != http.StatusConflict && s.Code != http.StatusTooManyRequests && s.Code < 500:
			return fmt.Errorf("answered %d", s.Code) // words might quote the Secret
		case errors.As(err, &s):
			err = fmt.Errorf("answered %d", s.Code)
		}
		if sleep(ctx, time.Second/2) != nil {
			return err
		}
	}
	return err
}

// failedTransformations is how often each API server has failed to read or write a
// value of etcd's.
func (g *Gates) failedTransformations(ctx context.Context) (map[string]float64, error) {
	servers, err := g.everyServer(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for _, a := range servers {
		text, err := a.text(ctx, "/metrics")
		if err != nil {
			return nil, err
		}
		all[a.base] = failures(text)
	}
	return all, nil
}

func failures(metrics string) (n float64) {
	for line := range strings.Lines(metrics) {
		labels, ok := strings.CutPrefix(line, "apiserver_storage_transformation_operations_total{")
		if !ok || strings.Contains(labels, `status="OK"`) {
			continue
		}
		if i := strings.LastIndexByte(labels, '}'); i >= 0 {
			value, _ := strconv.ParseFloat(strings.Fields(labels[i+1:] + " 0")[0], 64)
			n += value
		}
	}
	return n
}

// storage is etcd as an API server reaches it, with the API server's credentials.
type storage struct {
	members
	prefix string // /registry
}

func (g *Gates) storage(p staticPod) (storage, error) {
	servers := strings.Split(p.flag("etcd-servers", ""), ",")
	u, err := url.Parse(strings.TrimSpace(servers[0]))
	if err != nil || u.Host == "" {
		return storage{}, errors.New("--etcd-servers of the API server names no server")
	}
	if strings.Contains(p.flag("etcd-servers-overrides", ""), "/secrets#") {
		return storage{}, errors.New("Secrets are in an etcd of their own (--etcd-servers-overrides)")
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: g.Limits.Request}).DialContext}
	if u.Scheme == "https" {
		file := func(flag string) string { return p.hostFile(p.flag(flag, "")) }
		if transport.TLSClientConfig, err = clientTLS(g.FS, file("etcd-certfile"), file("etcd-keyfile"), file("etcd-cafile")); err != nil {
			return storage{}, fmt.Errorf("etcd: %w", err)
		}
	}
	client := &http.Client{Transport: transport, Timeout: max(g.Limits.Request, 30*time.Second)}
	prefix := "/" + strings.Trim(p.flag("etcd-prefix", "/registry"), "/")
	return storage{members{client, u.Scheme + "://" + u.Host, g.Limits}, prefix}, nil
}

// forms are the values below a key.
type forms struct {
	all    int
	others []string // keys whose values have another form
}

const encryptedPrefix = "k8s:enc:"

// list looks at the form of every value whose key begins like this.
func (s storage) list(ctx context.Context, key, prefix string) (f forms, err error) {
	end := []byte(key)
	end[len(end)-1]++ // of a range, exclusive: keys are ASCII
	for from := []byte(key); ; {
		var answer struct {
			Kvs []struct {
				Key   []byte
				Value []byte
			}
			More bool
		}
		if err := s.post(ctx, s.own, "/v3/kv/range", map[string]any{"key": from, "range_end": end, "limit": secretsPage}, &answer); err != nil {
			return f, err
		}
		for _, kv := range answer.Kvs {
			f.all++
			encrypted := strings.HasPrefix(string(kv.Value), encryptedPrefix)
			if prefix == "" && encrypted || prefix != "" && !strings.HasPrefix(string(kv.Value), prefix) {
				f.others = append(f.others, string(kv.Key))
			}
		}
		if !answer.More || len(answer.Kvs) == 0 {
			return f, nil
		}
		from = append(answer.Kvs[len(answer.Kvs)-1].Key, 0)
	}
}
