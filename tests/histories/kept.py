"""The recorded histories, and what they tell of the sagas."""

import json
from pathlib import Path

from temporalio.client import WorkflowHistory

FOLDER = Path(__file__).parent / "recorded"


def file(name: str) -> Path:
    """Where a scenario's history is kept."""
    return FOLDER / f"{name}.json"


def recorded(name: str) -> WorkflowHistory:
    """A scenario's history."""
    kept = json.loads(file(name).read_text())
    return WorkflowHistory.from_json(kept["id"], kept["history"])
