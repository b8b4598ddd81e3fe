#!/bin/bash
# Makes etcd's CA when there is none, member and admin certificates for the hosts
# in $MASTERS, and node certificates for those in $HOSTS.
set -o errexit -o pipefail

while getopts f:d: option; do
  case $option in
    f) config=$OPTARG ;;
    d) folder=$OPTARG ;;
    *) exit 2 ;;
  esac
done
: "${config:?-f: the openssl configuration}" "${folder:={{.EtcdCerts}}}"
mkdir -p "$folder"
cd "$folder"

if [ ! -e ca-key.pem ]; then
  openssl genrsa -out ca-key.pem 2048
  openssl req -x509 -new -nodes -key ca-key.pem -days 36500 -out ca.pem -subj /CN=etcd-ca
fi

issue() { # KIND HOST
  request=$(mktemp)
  openssl genrsa -out "$1-$2-key.pem" 2048
  openssl req -new -key "$1-$2-key.pem" -out "$request" -subj "/CN=etcd-$1-${2%%.*}"
  openssl x509 -req -in "$request" -CA ca.pem -CAkey ca-key.pem -set_serial "0x$(openssl rand -hex 16)" \
    -out "$1-$2.pem" -days 36500 -extensions ssl_client -extfile "$config"
  rm "$request"
}

for host in $MASTERS; do
  issue member "$host"
  issue admin "$host"
done
for host in $HOSTS; do
  issue node "$host"
done
