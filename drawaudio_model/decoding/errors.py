"""Why a file cannot be used, what is said of files that can, and what makes a reader begin again."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

import av

REASONS = {
    "no_video_stream": "there is no moving picture (a cover picture does not count)",
    "no_audio_stream": "there is no sound track",
    "silent": f"no sample of the asked clips is above the loudness of {1e-4:g} (-80 dB of full scale)",
    "truncated": "the file ends before the length that it declares, or an mp4 has no moov atom",
    "undecodable": "no container, no decoder, or more damage than MAX_CORRUPT_SHARE",
    "too_short": "picture or sound of every asked clip is shorter than MIN_SECONDS",
    "no_memory": "there was too little memory to read it; also where a damaged header asks for more than there can be",
}
"""Every value of MediaError.reason, with its meaning."""

FILE_FLAGS = {
    "wrong_length": "the header claims another length than the packets have; what can be read counts",
    "joined_clock": "the times of the packets break (parts joined, a false time); the parts were laid end to end",
    "other_stream": "the picture or the sound goes on in another stream, as of parts that were joined; that is not read",
    "changed_rate": "the sound changes its sample rate on its way; all of it is heard at the first one",
}
"""Flags of a whole file that is used although it is odd; all its clips carry them."""


class MediaError(ValueError):
    """A file that cannot become a clip; `reason` is one of REASONS."""

    def __init__(self, reason: str, message: str) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{message} ({reason})")
        self.reason, self.message = reason, message


DECODERS_BYTES = 64 * 2**20
"""Of memory that a decoder may need for a few pictures."""


def check_memory() -> None:
    """Raises MediaError where there is not even a decoder's memory to be had, before a file is called damaged.

    A decoder whose threads get none tells of damage, or gives no picture at all.
    """
    try:
        mmap.mmap(-1, DECODERS_BYTES).close()
    except OSError as error:
        raise MediaError("no_memory", "there is too little memory to decode the file; end other programs") from error


class ReadAgain(Exception):
    """No fault: the file turned out to need another way of reading, and is read from its beginning again."""


@contextmanager
def named_file(name: str) -> Iterator[None]:
    """Begin every sentence about a file with its name, as a person knows it: who gave several files asks which it was."""
    try:
        yield
    except MediaError as error:
        if name in error.message:
            raise
        raise MediaError(error.reason, f"{name}: {error.message}") from error


@contextmanager
def only_media_errors() -> Iterator[None]:
    """One file never stops the others: every exception that a file caused becomes MediaError, with its words.

    PyAV and numpy raise dozens of kinds for broken files (IndexError for a stream that appears late, MemoryError for a
    false length), and a list of them would be one short. An allocation that fails has a reason of its own: most often it
    is no fault of the file.
    """
    try:
        yield
    except (MediaError, ReadAgain):
        raise
    except MemoryError as error:  # PyAV's of a failed allocation is one of these, and an FFmpegError as well
        raise MediaError(
            "no_memory",
            f"reading the file ends in {type(error).__name__}: {error}; end other programs, or give a smaller file",
        ) from error
    except av.error.FFmpegError as error:
        raise MediaError("undecodable", f"FFmpeg cannot read the file: {error.strerror or error}") from error
    except OSError:
        raise  # Not the file's: FFmpeg has its own kinds of those.
    except Exception as error:
        raise MediaError("undecodable", f"reading the file ends in {type(error).__name__}: {error}") from error
