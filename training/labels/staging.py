"""A folder that appears whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from segmif.files import shown, sync_all, sync_folder, temporary_stem


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """
    A new folder beside `folder` that takes its name at the end; gone if anything fails.

    Raises FileExistsError for a folder that holds something.
    """
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f"{temporary_stem(folder)}-{uuid4().hex[:8]}.part")
    beside.mkdir()
    try:
        yield beside
        sync_all()
        beside.rename(folder)  # over an empty folder too
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_free(folder: Path) -> None:
    """Raise FileExistsError if `folder` is a file or holds something."""
    if folder.is_dir() and next(folder.iterdir(), None) is None:
        return
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{shown(folder)} exists and is not empty: name a new folder")
