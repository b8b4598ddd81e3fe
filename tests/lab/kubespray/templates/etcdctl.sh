#!/bin/bash
# etcdctl as this member's administrator.
exec etcdctl --cacert {{.EtcdCerts}}/ca.pem --cert {{.EtcdCerts}}/admin-{{.Name}}.pem --key {{.EtcdCerts}}/admin-{{.Name}}-key.pem "$@"
