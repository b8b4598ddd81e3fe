//go:build faults

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// inject makes a fix go wrong as the environment says. The program that users get
// has none of it:
//
//	HARDENER_INJECT  the mistake that it writes instead of what is right
//	HARDENER_STEPS   the file in which it notes each of its steps
//	HARDENER_STOP    the step before which it waits, see steps
func inject(f *hardener.FixOptions) error {
	if name := os.Getenv("HARDENER_INJECT"); name != "" {
		i, ok := injections[name]
		if !ok {
			return fmt.Errorf("HARDENER_INJECT: no injection %q", name)
		}
		f.OnDisk = i.into
	}
	if os.Getenv("HARDENER_STEPS") == "" && os.Getenv("HARDENER_STOP") == "" {
		return nil
	}
	s, err := newSteps(os.Getenv("HARDENER_STEPS"), os.Getenv("HARDENER_STOP"))
	if err != nil {
		return err
	}
	txn.OnStep(func(op, path string) { s.at(op + " " + path) })
	if f.Gate != nil {
		f.Gate, f.DeadMan = steppedGate{f.Gate, s}, s.deadMan(f.DeadMan)
	}
	return nil
}

// injection replaces a piece of a file of a plan: a mistake that gates are there
// for.
type injection struct{ file, old, new string }

var injections = map[string]injection{
	"unknown-flag": {"/kube-apiserver.yaml", "    - kube-apiserver\n", "    - kube-apiserver\n    - --no-such-flag=true\n"},
	"never-ready":  {"/kube-apiserver.yaml", "        path: /readyz\n", "        path: /never\n"},
	"no-kubelet":   {"/kubelet-config.yaml", "kind: KubeletConfiguration\n", "kind: KubeletConfiguration\nmaxOpenFiles: -1\nevictionMaxPodGracePeriod: -5\n"},
	"no-etcd":      {"/etcd.env", "ETCD_CLIENT_CERT_AUTH=true\n", "ETCD_CLIENT_CERT_AUTH=true\nETCD_CIPHER_SUITES=TLS_NONSENSE\n"},
}

func (i injection) into(c txn.Change) (txn.Change, error) {
	if c.Kind != txn.Write || !strings.HasSuffix(c.Path, i.file) {
		return c, nil
	}
	if !bytes.Contains(c.Content, []byte(i.old)) {
		return c, fmt.Errorf("inject: %s has no %q", c.Path, i.old)
	}
	c.Content = bytes.ReplaceAll(c.Content, []byte(i.old), []byte(i.new))
	return c, nil
}
