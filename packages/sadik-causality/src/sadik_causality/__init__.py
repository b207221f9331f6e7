"""Dots, causal contexts with gaps, dotted causal containers and authenticated context tokens."""

from sadik_causality.container import Container, write_context
from sadik_causality.context import EMPTY, Context, ContextError, PlainContext
from sadik_causality.dots import (
    ACTOR_BYTES_MAX,
    COUNTER_MAX,
    Actor,
    Dot,
    DotError,
    check_actor,
    check_counter,
    dot_from_plain,
)
from sadik_causality.token import MAX_TOKEN_CHARS, ContextSealer, ContextTooLarge, TokenError

__all__ = [
    "ACTOR_BYTES_MAX",
    "COUNTER_MAX",
    "EMPTY",
    "MAX_TOKEN_CHARS",
    "Actor",
    "Container",
    "Context",
    "ContextError",
    "ContextSealer",
    "ContextTooLarge",
    "Dot",
    "DotError",
    "PlainContext",
    "TokenError",
    "check_actor",
    "check_counter",
    "dot_from_plain",
    "write_context",
]
