"""Streams of randomness: what is drawn faster is drawn alike."""

import random

from sadik_sim.streams import between


def test_between_draws_what_randrange_does() -> None:
    ours, pythons = random.Random(1), random.Random(1)
    for low, high in [(0, 1), (3, 10), (0, 64), (250_000, 2_000_000)] * 50:
        assert between(ours, low, high) == pythons.randrange(low, high)
