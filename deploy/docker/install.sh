#!/bin/sh
# Build the packages of a checkout and install the node with them: install.sh CHECKOUT TARGET
#
# What is third-party has the versions of requirements.lock. The Dockerfile runs this in its first
# stage, and keeps TARGET alone.
set -eu

checkout=$1
target=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The lock file without its hashes: pip takes those for requirements only, not for constraints.
sed -e 's/ *\\$//' -e '/^ *--hash=/d' "$checkout/requirements.lock" >"$work/constraints.txt"

python3 -m venv "$target"
export PIP_CONSTRAINT="$work/constraints.txt" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
for package in "$checkout"/packages/sadik-*/; do
    "$target/bin/pip" wheel --quiet --no-deps --wheel-dir "$work/wheels" "$package"
done
"$target/bin/pip" install --quiet --find-links "$work/wheels" \
    "sadik-node[certs]" "sadik-storage[rocksdb]"
"$target/bin/sadik-node" version
