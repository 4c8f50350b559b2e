"""What the build provides, for tests."""

from dataclasses import dataclass


@dataclass
class Routing_TwoChoices:
    value: list[int]
