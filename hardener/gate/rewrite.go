package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

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
