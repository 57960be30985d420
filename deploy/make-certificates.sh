#!/bin/sh
# A certificate authority of your own and a certificate for Redis, in ./tls:
#
#   sh deploy/make-certificates.sh NAME-OR-ADDRESS...     as other machines reach this one
#
# Give the other machines tls/ca.crt, and nobody tls/*.key. Run again, it makes a new certificate by
# the same authority, so that the other machines need nothing new.
set -eu
[ $# -gt 0 ] || { echo "name this machine as others reach it: sh $0 redis.internal 10.0.0.5" >&2; exit 2; }
command -v openssl >/dev/null || { echo "openssl is not installed" >&2; exit 3; }
umask 077
mkdir -p tls
names=
for name in "$@"; do
  case $name in
    *:*) kind=IP ;;
    *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
  esac
  names=${names:+$names,}$kind:$name
done
[ -f tls/ca.key ] || openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj "/CN=alphamill's own authority" \
  -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout tls/ca.key -out tls/ca.crt 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout tls/redis.key -out tls/redis.csr 2>/dev/null
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "$names" >tls/redis.ext
openssl x509 -req -in tls/redis.csr -CA tls/ca.crt -CAkey tls/ca.key -CAcreateserial -days 825 \
  -extfile tls/redis.ext -out tls/redis.crt 2>/dev/null
rm -f tls/redis.csr tls/redis.ext
chmod 644 tls/ca.crt
echo "tls/redis.crt for $names, until $(openssl x509 -in tls/redis.crt -noout -enddate | cut -d= -f2)"
