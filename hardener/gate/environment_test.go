package gate

import (
	"testing"
	"testing/fstest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

func TestEnvironmentInForce(t *testing.T) {
	const env = "ETCD_NAME=etcd1\nETCD_DATA_DIR=/var/lib/etcd\nETCD_METRICS=\nETCDCTL_CERT=/x\n# ETCD_NOT=set\n"
	for _, c := range []struct {
		reason, comm, environ, want string
	}{
		{"all there", "etcd", "ETCD_NAME=etcd1\x00ETCD_DATA_DIR=/var/lib/etcd\x00ETCD_METRICS=\x00PATH=/bin\x00", ""},
		{"an old value", "etcd", "ETCD_NAME=etcd1\x00ETCD_DATA_DIR=/old\x00", "process 7 does not have what /etc/etcd.env say: ETCD_DATA_DIR"},
		{"started by another", "docker", "PATH=/bin\x00", ""},
	} {
		err := environmentInForce(fstest.MapFS{
			"etc/etcd.env":   {Data: []byte(env)},
			"proc/7/comm":    {Data: []byte(c.comm + "\n")},
			"proc/7/environ": {Data: []byte(c.environ)},
			"proc/8/comm":    {Data: []byte("etcd\n")},
			"proc/8/environ": {Data: []byte("ETCD_NAME=events\x00ETCD_DATA_DIR=/var/lib/etcd-events\x00")},
			"proc/9/comm":    {Data: []byte("etcd\n")},
			"proc/9/environ": {Data: []byte("ETCD_NAME=etcd1\x00ETCD_DATA_DIR=/var/lib/etcd\x00")},
		}, node.Component{EnvFiles: []string{"/etc/etcd.env"}}, 7)
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%s: %v, want %q", c.reason, err, c.want)
		}
	}
}
