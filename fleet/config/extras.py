"""Names beyond the built-in ones: strategies, mixins and brokers of installed packages, as the validation needs them.

Pure: no I/O; `fleet.plugins` finds what is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import BaseModel

Models = Mapping[str, type[BaseModel] | None]
"""Names with their parameters' model; None accepts any object."""


@dataclass(frozen=True, slots=True)
class ExtraNames:
    """Names from plugins, known in addition to the built-in ones."""

    strategies: Models = field(default_factory=dict)
    entries: Models = field(default_factory=dict)
    exits: Models = field(default_factory=dict)
    brokers: frozenset[str] = frozenset()
    broken: Mapping[str, str] = field(default_factory=dict)
    """Names that a package offers and nobody can use, each with the reason in one line."""

    def with_names(self, other: ExtraNames) -> ExtraNames:
        """These and, where they are silent, those of `other`."""
        return replace(
            self,
            strategies={**other.strategies, **self.strategies},
            entries={**other.entries, **self.entries},
            exits={**other.exits, **self.exits},
            brokers=self.brokers | other.brokers,
            broken={**other.broken, **self.broken},
        )


NO_EXTRAS = ExtraNames()
