"""The HTTP API of a node.

`server` moves bytes, `request_reader` makes requests of them, `connection` keeps their order,
`application` and `routes` find who answers, and `kv`, `buckets` and `views` do.
"""
