"""The record of a clip's caption."""

import pytest

from drawaudio_model.caption import Candidate, Caption

CAPTION = Caption("A dog barks.", "audio_model", (Candidate("audio_model", "A dog barks.", 0.5),))


def test_the_bytes_are_those_of_every_shard_of_captions() -> None:
    assert CAPTION.to_json() == (
        b'{"caption": "A dog barks.", "caption_source": "audio_model", "candidates": '
        b'[{"source": "audio_model", "text": "A dog barks.", "score": 0.5}]}'
    )
    assert Caption.from_json(CAPTION.to_json()) == CAPTION


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match="caption has no field 'caption_source'"):
        Caption.from_json(b'{"caption": "a"}')


def test_captions_from_before_there_were_candidates_are_read() -> None:
    assert Caption.from_json(b'{"caption": "a", "caption_source": "b"}') == Caption("a", "b")
