"""Where the take of a sound lies; take_files.py says what is in it. No torch is loaded to answer that."""

from pathlib import Path

SOUND_SUFFIXES = (".wav", ".flac")
"""Of sounds whose samples come back as they were written."""


def take_path(sound: Path) -> Path:
    """Where the take of a sound lies.

    Raises:
        ValueError: for a file whose samples do not come back as they were written.
    """
    if sound.suffix.lower() not in SOUND_SUFFIXES:
        raise ValueError(f"a take is kept beside a .wav or .flac, not {sound.name}; write one of these")
    return sound.with_suffix(".take")


def existing_take(sound: Path) -> Path:
    """`take_path` of a sound that was made before.

    Raises:
        ValueError: when there is no such sound, or as `take_path`.
    """
    if not sound.is_file():
        raise ValueError(f"sound {sound} does not exist; give a .wav or .flac that was made before")
    return take_path(sound)
