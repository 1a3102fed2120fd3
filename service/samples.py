"""The pairs that the service brings along."""

from pathlib import Path

SAMPLES = Path(__file__).parent / "web" / "samples"


def sample_names() -> list[str]:
    """Their names; each is a folder with visible.png and infrared.png."""
    return sorted(folder.name for folder in SAMPLES.iterdir() if folder.is_dir())
