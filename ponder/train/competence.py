"""The edge of competence: how often each task and level is solved now, and which of them are worth practising.

A problem that is always or never solved teaches nothing (Yu et al. 2025, "DAPO": half of all groups without this).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

LOWEST, HIGHEST = 0.1, 0.9
"""Success between which a level is practised fully."""
REST = 0.05
"""Weight of the other unlocked levels: now and then it must be seen how they stand."""
UNLOCKS = 0.7
"""Success at which the next level of a task is unlocked."""
UNSEEN = 0.5
"""Success of a level before it was tried, worth one group: a single unlucky one must not close it."""
SLOWEST = 0.1
"""Least share of one group in the running estimate."""

Level = tuple[str, int]


@dataclass(eq=False)
class Competence:
    """Running success of levels; the lowest one of each task is open at the start, the next once that is learned."""

    levels: Sequence[Level]
    unlocks: float = UNLOCKS
    """0 for all levels open at the start."""
    lowest: float = LOWEST
    shares: Mapping[Level, float] = field(default_factory=dict[Level, float])
    """How often a level is practised beside the others, where that is not 1."""
    success: dict[Level, float] = field(default_factory=dict[Level, float])
    """Of the levels that were tried."""
    groups: dict[Level, int] = field(default_factory=dict[Level, int])
    unlocked: set[Level] = field(default_factory=set[Level])

    def __post_init__(self) -> None:
        self.levels = sorted(set(self.levels))
        for name, level in self.levels:
            if not self.unlocks or level == min(other for task, other in self.levels if task == name):
                self.unlocked.add((name, level))

    def weight(self, level: Level) -> float:
        """How much a level is practised; one that was never tried, fully."""
        if level not in self.unlocked:
            return 0.0
        edge = self.lowest < self.success.get(level, UNSEEN) < HIGHEST
        return self.shares.get(level, 1.0) * (1.0 if edge else REST)

    def choose(self, rng: Random) -> Level:
        """A level by its weight."""
        return rng.choices(self.levels, [self.weight(level) for level in self.levels])[0]

    def learn(self, level: Level, share: float) -> None:
        """So much of one group was right."""
        seen = self.groups.get(level, 0)
        before = self.success.get(level, UNSEEN)
        self.success[level] = before + (share - before) * max(SLOWEST, 1 / (seen + 2))
        self.groups[level] = seen + 1
        if self.success[level] >= self.unlocks:
            above = [other for other in self.levels if other[0] == level[0] and other[1] > level[1]]
            self.unlocked.update(above[:1])

    def state(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "success": [[*level, share] for level, share in self.success.items()],
            "groups": [[*level, count] for level, count in self.groups.items()],
            "unlocked": sorted(self.unlocked),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self.success = {(name, level): share for name, level, share in state["success"]}
        self.groups = {(name, level): count for name, level, count in state["groups"]}
        self.unlocked = {(name, level) for name, level in state["unlocked"]}
