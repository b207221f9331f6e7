"""One Sadik node: host loop, HTTP API and the sadik-node command."""
