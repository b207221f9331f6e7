"""The HTTP API of a node.

`server` moves bytes, `connection` and `exchange` make requests of them and keep their order,
`application` and `routes` find who answers, and `kv`, `buckets` and `views` do.
"""
