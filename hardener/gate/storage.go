package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

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
