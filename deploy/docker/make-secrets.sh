#!/bin/sh
# Make what the nodes of compose.yaml prove themselves with, and what clients need, if it is not
# there; then give each node its own: make-secrets.sh DIR [OWNER]
#
# DIR/authority is for whoever looks after the cluster; DIR/n1, n2 and n3 have what that node reads
# and no key of another's, private to OWNER; DIR/watch is Prometheus'. Nodes read what has changed by
# themselves. Without DIR/authority/made, all is made anew.
set -eu

cd "$1"
owner=${2:-}
umask 077

# give FILE TO: in one piece, since a node may look at any time.
give() {
    cp "authority/$1" "$2.new"
    [ -z "$owner" ] || chown "$owner" "$2.new"
    mv -f "$2.new" "$2"
}

if [ ! -e authority/made ]; then
    rm -rf authority/*    # of a run that did not get to its end
    sadik-node certs init authority/pki --name "Sadik in Compose"
    sadik-node secret new authority/cluster.secret
    sadik-node token add authority/tokens.toml admin --scope admin >authority/admin.token
    # The least that there is: it opens the figures, and buckets whose names begin so: none is.
    sadik-node token add authority/tokens.toml prometheus --scope read:no-bucket \
        >authority/prometheus.token
    for node in n1 n2 n3; do
        # By its name on the network here, and by those that the host has for the published port.
        sadik-node certs issue authority/pki "$node" --host "$node" --host localhost \
            --host 127.0.0.1
    done
    touch authority/made
fi

for node in n1 n2 n3; do
    for file in cluster.secret tokens.toml admin.token; do
        give "$file" "$node/$file"
    done
    give pki/ca.crt "$node/ca.crt"
    give "pki/$node.crt" "$node/node.crt"
    give "pki/$node.key" "$node/node.key"
done
for file in pki/ca.crt prometheus.token; do
    # For whatever user Prometheus is; nobody else mounts it.
    install -m 644 "authority/$file" "watch/${file#pki/}"
done
