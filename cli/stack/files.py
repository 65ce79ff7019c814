"""Writing what must not be half written, and not be read by others."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replaces the file in one step; only its owner may read it (0600)."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def make_private(folder: Path) -> Path:
    """Makes the folder, its parents too, so that only its owner may enter it (0700)."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
