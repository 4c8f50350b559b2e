"""The configuration."""

import json
from dataclasses import dataclass, fields

# In characters. A parser of deeply nested texts runs out of stack, which no `except` sees.
LONGEST = 1_000


@dataclass(frozen=True)
class Options:
    # Requests with this header and value go to the canaries ...
    header: str = "x-canary"
    value: str = "yes"
    # ... and so much of the others, 0 to 100.
    percent: float = 0
    # Backends with this label and value are canaries.
    label: str = "track"
    label_value: str = "canary"

    @staticmethod
    def parse(text):
        """The options in a JSON text; a ValueError says what is wrong."""
        if len(text) > LONGEST:
            raise ValueError(f"longer than {LONGEST} characters")
        given = json.loads(text) if text.strip() else {}
        if not isinstance(given, dict):
            raise ValueError("the options are no JSON object")
        names = {field.name.replace("_", "-"): field.name for field in fields(Options)}
        for key, value in given.items():
            if key not in names:
                raise ValueError(f"{key}: unknown option")
            check(key, value)
        return Options(**{names[key]: value for key, value in given.items()})


def check(key, value):
    if key == "percent":
        if type(value) not in (int, float) or not 0 <= value <= 100:
            raise ValueError("percent: a number from 0 to 100")
    elif not isinstance(value, str) or not value:
        raise ValueError(f"{key}: a text that is not empty")
