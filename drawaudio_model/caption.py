"""A clip's caption, where it came from, and what else was proposed: the `json` of the asset captions."""

import json
from dataclasses import asdict, dataclass

from drawaudio_model.shard import ShardReader


@dataclass(frozen=True)
class Candidate:
    """A caption that a clip might get."""

    source: str
    """The captioner's model that proposed it: label, audio_model or image_model."""
    text: str
    score: float
    """Higher is better; cosine of CLAP's embeddings of text and sound, -1 to 1, where CLAP is the judge."""


@dataclass(frozen=True)
class Caption:
    """The caption of one clip, with the other candidates."""

    text: str
    source: str
    """The clip's own source where the caption came with it, else that of the candidate which was taken."""
    candidates: tuple[Candidate, ...] = ()
    """The best first; empty where the caption came with the clip."""

    def to_json(self) -> bytes:
        """The member `json`; the same caption gives the same bytes."""
        candidates = [asdict(candidate) for candidate in self.candidates]
        return json.dumps({"caption": self.text, "caption_source": self.source, "candidates": candidates}).encode()

    @staticmethod
    def from_json(content: bytes) -> "Caption":
        """The caption that `to_json` wrote, now or before there were candidates.

        Raises:
            ValueError: when a field is missing.
        """
        facts = json.loads(content)
        try:
            candidates = tuple(Candidate(**row) for row in facts.get("candidates", ()))
            return Caption(facts["caption"], facts["caption_source"], candidates)
        except KeyError as error:
            raise ValueError(f"a clip's caption has no field {error}; materialize captions again") from error


def read_caption(reader: ShardReader, key: str) -> Caption:
    """The caption of a clip of the asset captions.

    Raises:
        ValueError: when a field is missing.
    """
    return Caption.from_json(reader.member(key, "json"))
