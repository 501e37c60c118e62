#!/bin/sh
# Make a certificate authority and a certificate of its for localhost, for a day.
#
#   certs.sh DIR      leaves DIR/{ca,server}.pem and DIR/{ca,server}.key
set -eu
dir=${1:?usage: certs.sh DIR}
mkdir -p "$dir"
cd "$dir"
cat >extensions <<'X'
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
authorityKeyIdentifier = keyid
X
request() { # NAME SUBJECT
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -subj "$2" -keyout "$1.key" -out "$1.csr"
}
{
    request ca '/CN=smartsocket test authority'
    openssl x509 -req -in ca.csr -signkey ca.key -days 1 -extfile extensions -extensions ca -out ca.pem
    request server /CN=localhost
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 \
        -extfile extensions -extensions server -out server.pem
} 2>openssl.log || { cat openssl.log >&2; exit 1; }
