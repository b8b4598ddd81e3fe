//go:build faults

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// injection is what a program built with the tag faults writes instead of what is
// right, when HARDENER_INJECT names it: the mistakes that gates are there for. The
// program that users get has none.
func injection() func(txn.Change) (txn.Change, error) {
	name := os.Getenv("HARDENER_INJECT")
	if name == "" {
		return nil
	}
	return func(c txn.Change) (txn.Change, error) {
		i, ok := injections[name]
		if !ok {
			return c, fmt.Errorf("HARDENER_INJECT: no injection %q", name)
		}
		if c.Kind != txn.Write || !strings.HasSuffix(c.Path, i.file) {
			return c, nil
		}
		if !bytes.Contains(c.Content, []byte(i.old)) {
			return c, fmt.Errorf("inject %s: %s has no %q", name, c.Path, i.old)
		}
		c.Content = bytes.ReplaceAll(c.Content, []byte(i.old), []byte(i.new))
		return c, nil
	}
}

// injections replace a piece of a file of a plan.
var injections = map[string]struct{ file, old, new string }{
	"unknown-flag": {"/kube-apiserver.yaml", "    - kube-apiserver\n", "    - kube-apiserver\n    - --no-such-flag=true\n"},
	"never-ready":  {"/kube-apiserver.yaml", "        path: /readyz\n", "        path: /never\n"},
	"no-kubelet":   {"/kubelet-config.yaml", "kind: KubeletConfiguration\n", "kind: KubeletConfiguration\nmaxOpenFiles: -1\nevictionMaxPodGracePeriod: -5\n"},
	"no-etcd":      {"/etcd.env", "ETCD_CLIENT_CERT_AUTH=true\n", "ETCD_CLIENT_CERT_AUTH=true\nETCD_CIPHER_SUITES=TLS_NONSENSE\n"},
}
