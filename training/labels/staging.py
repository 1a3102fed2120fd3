"""A folder that appears whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from segmif.files import exclusive, in_use, shown, sync_all, sync_folder, temporary_stem


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """
    A new folder beside `folder` that takes its name at the end; gone if anything fails.

    What a killed writer of the same folder left is deleted. Raises FileExistsError for a folder
    that holds something.
    """
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f"{temporary_stem(folder)}-{uuid4().hex[:8]}.part")
    with ExitStack() as held:
        with exclusive(folder.parent):  # or another would find it before it is held
            _delete_abandoned(folder)
            beside.mkdir()
            held.callback(shutil.rmtree, beside, ignore_errors=True)
            held.enter_context(exclusive(beside))
        yield beside
        sync_all()
        beside.rename(folder)  # over an empty folder too
        sync_folder(folder.parent)


def _delete_abandoned(folder: Path) -> None:
    for beside in folder.parent.glob(f"{temporary_stem(folder)}-*.part"):
        if not in_use(beside):
            shutil.rmtree(beside, ignore_errors=True)


def check_free(folder: Path) -> None:
    """Raise FileExistsError if `folder` is a file or holds something."""
    if folder.is_dir() and next(folder.iterdir(), None) is None:
        return
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{shown(folder)} exists and is not empty: name a new folder")
