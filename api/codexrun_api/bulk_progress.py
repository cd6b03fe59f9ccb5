"""Bulk actions of this process while they go on and after, for the pages that show how they do."""

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from codexrun_api.schemas.problems import Problem
from codexrun_api.schemas.responses import BulkAnswer, BulkItem

MAX_KEPT_ACTIONS = 50

Verb = Literal["cancel", "retry"]


@dataclass
class BulkAction:
    """One bulk action, while it goes on and after."""

    verb: Verb
    user: str
    began: datetime
    expected: int
    items: list[BulkItem] = field(default_factory=list)
    answer: BulkAnswer | None = None
    problem: Problem | None = None

    @property
    def over(self) -> bool:
        return self.answer is not None or self.problem is not None

    def counted(self, outcome: str) -> int:
        return sum(item.outcome == outcome for item in self.items)


class BulkActions:
    """The last ones. They are gone with the process: what they did is in the runs, and each can be
    asked for again."""

    def __init__(self) -> None:
        self._actions: OrderedDict[str, BulkAction] = OrderedDict()
        self.tasks: set[asyncio.Task[None]] = set()

    def add(self, action: BulkAction) -> str:
        """Keep the action; return the number that its page is found by."""
        number = secrets.token_hex(8)
        self._actions[number] = action
        while len(self._actions) > MAX_KEPT_ACTIONS:
            self._actions.popitem(last=False)
        return number

    def get(self, number: str) -> BulkAction | None:
        """Return the action of that number; None if it is no longer kept."""
        return self._actions.get(number)
