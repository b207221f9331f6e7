"""Options of a backend: a table of what is accepted, and one function that holds it.

A backend declares its options once; `parse` turns what a configuration file said into checked
values, and every refusal names the option and what is accepted, so that an operator can mend the
file from the message alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import attrs

from sadik_storage.trait import StoreOptionsError

__all__ = ["Option", "OptionValue", "parse"]

OptionValue: TypeAlias = int | bool | str
"""What an option may hold; a configuration file can say all of it."""

_WORDS: dict[type, str] = {int: "an integer", bool: "true or false", str: "a string"}


@attrs.frozen
class Option:
    """One option: its name, its default (whose type it must have) and its bounds."""

    name: str
    default: OptionValue
    doc: str
    """One line for operators."""
    minimum: int | None = None
    """For integers: the least value accepted."""
    maximum: int | None = None
    """For integers: the greatest value accepted."""

    def accepted(self) -> str:
        """What values are accepted, in words: for messages."""
        words = _WORDS[type(self.default)]
        if self.minimum is not None:
            words += f" of at least {self.minimum}"
        if self.maximum is not None:
            words += f"{' and' if self.minimum is not None else ' of'} at most {self.maximum}"
        return f"{words} (default: {self.default!r}; {self.doc})"

    def check(self, value: object) -> OptionValue:
        """Return `value` if it is accepted.

        Raises:
            StoreOptionsError: it is not.
        """
        if type(value) is not type(self.default):
            raise self._refusal(value)
        assert isinstance(value, int | bool | str)
        if isinstance(value, int):
            below = self.minimum is not None and value < self.minimum
            above = self.maximum is not None and value > self.maximum
            if below or above:
                raise self._refusal(value)
        return value

    def _refusal(self, value: object) -> StoreOptionsError:
        return StoreOptionsError(
            f"storage option {self.name!r} is {value!r}, but must be {self.accepted()}"
        )


def parse(
    backend: str, accepted: Sequence[Option], given: Mapping[str, object]
) -> dict[str, OptionValue]:
    """Every accepted option by name, as given or by its default.

    Raises:
        StoreOptionsError: an option is unknown, of the wrong type, or out of range.
    """
    known = {option.name: option for option in accepted}
    for name in given:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise StoreOptionsError(
                f"the storage backend {backend!r} has no option {name!r}; it accepts: {names}"
            )
    return {
        name: option.check(given[name]) if name in given else option.default
        for name, option in known.items()
    }
