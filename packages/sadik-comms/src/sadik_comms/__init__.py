"""Duplex byte streams between nodes: TCP, TLS and in memory."""

from sadik_comms.address import Address
from sadik_comms.backoff import Backoff
from sadik_comms.buffered import WRITE_BYTES, GatheringSender
from sadik_comms.errors import (
    AcceptFailed,
    AddressInUse,
    AddressInvalid,
    CommsError,
    DialFailed,
    ListenFailed,
    LocallyClosed,
    StreamBroken,
)
from sadik_comms.memory import MemoryListener, MemoryNetwork, MemoryTransport
from sadik_comms.memory_stream import MemoryStream
from sadik_comms.tcp import TcpListener, TcpStream, TcpTransport
from sadik_comms.tls import TlsCredentials, TlsListener, TlsStream, TlsTransport
from sadik_comms.transport import (
    RECEIVE_BYTES,
    Handler,
    Listener,
    Stream,
    Transport,
    run_handler,
)

__all__ = [
    "RECEIVE_BYTES",
    "WRITE_BYTES",
    "AcceptFailed",
    "Address",
    "AddressInUse",
    "AddressInvalid",
    "Backoff",
    "CommsError",
    "DialFailed",
    "GatheringSender",
    "Handler",
    "ListenFailed",
    "Listener",
    "LocallyClosed",
    "MemoryListener",
    "MemoryNetwork",
    "MemoryStream",
    "MemoryTransport",
    "Stream",
    "StreamBroken",
    "TcpListener",
    "TcpStream",
    "TcpTransport",
    "TlsCredentials",
    "TlsListener",
    "TlsStream",
    "TlsTransport",
    "Transport",
    "run_handler",
]
