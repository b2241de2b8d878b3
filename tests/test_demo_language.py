"""The language of the demo world: hundreds of wordings a kind, none of the held-out ones, none that fits two kinds."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipelines.annotation.phrases import noun_phrases
from pipelines.sources.demo import language as demo_language
from pipelines.sources.demo.language import (
    COLOURS,
    NOUNS,
    OTHER_NOUNS,
    WORDINGS_PER_CLIP,
    caption,
    inflect,
    is_unsaid,
    names_of,
    phrase_vocabulary,
    plain,
    plural,
    sample_wordings,
)
from pipelines.sources.demo.objects import KINDS
from pipelines.sources.demo.words import WORDS

SOURCES = Path(demo_language.__file__).parent
HELD_OUT: dict[str, list[str]] = json.loads((SOURCES / "held_out_wordings.json").read_text())


@pytest.fixture(scope="module")
def said() -> dict[str, set[str]]:
    """Kind -> the words of some 6000 wordings."""
    rng = np.random.default_rng(7)
    return {
        kind: {
            plain(wording)
            for _ in range(250)
            for wording in sample_wordings(kind, f"{rng.choice(COLOURS[kind])} {rng.choice(NOUNS[kind])}", rng)
        }
        for kind in KINDS
    }


def test_every_kind_has_thousands_of_wordings(said: dict[str, set[str]]) -> None:
    assert set(said) == set(KINDS) == set(WORDS)
    assert min(map(len, said.values())) > 4000


def test_a_wording_belongs_to_one_kind(said: dict[str, set[str]]) -> None:
    for kind in KINDS:
        others = set().union(*(said[other] for other in KINDS if other != kind))
        assert not said[kind] & others


def test_a_noun_an_imitation_and_a_fragment_belong_to_one_kind() -> None:
    own = {kind: {*words.things, *words.masses, *words.cries, *words.fragments} for kind, words in WORDS.items()}
    for kind in KINDS:
        others = set().union(*(own[other] for other in KINDS if other != kind))
        assert not own[kind] & others, own[kind] & others


def test_held_out_wordings_are_never_said(said: dict[str, set[str]]) -> None:
    assert {kind: len(set(map(plain, own))) for kind, own in HELD_OUT.items()} == dict.fromkeys(KINDS, 12)
    everything = set().union(*said.values())
    for kind, own in HELD_OUT.items():
        for wording in own:
            assert is_unsaid(kind, plain(wording)), wording
            assert plain(wording) not in everything


def test_unsaid_are_the_plainest_wordings_only() -> None:
    assert is_unsaid("bell", "a bell rings") and is_unsaid("bell", "bells ringing") and is_unsaid("rain", "heavy rain")
    assert not is_unsaid("bell", "a church bell rings loudly") and not is_unsaid("drum", "a bell rings")


def test_most_words_of_the_held_out_wordings_are_known(said: dict[str, set[str]]) -> None:
    for kind, own in HELD_OUT.items():
        known = {word for wording in said[kind] for word in wording.split()}
        assert np.mean([word in known for wording in own for word in plain(wording).split()]) > 0.8, kind


@pytest.mark.parametrize("kind", KINDS)
def test_wordings_of_a_clip_are_distinct_short_and_the_same_each_time(kind: str) -> None:
    phrase = names_of(kind, COLOURS[kind][0])[0]
    first, again, other = (sample_wordings(kind, phrase, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert len({plain(wording) for wording in first}) == WORDINGS_PER_CLIP == len(first)
    many = sample_wordings(kind, phrase, np.random.default_rng(5), count=600)
    assert len(set(map(plain, many))) == 600
    assert all(1 <= len(wording.split()) <= 18 and "{" not in wording for wording in first)
    assert not any(re.search(r"  | ,|\ba a\b", wording) for wording in first)
    sentence = first[0]
    assert plain(sentence) not in map(plain, sample_wordings(kind, phrase, np.random.default_rng(3), also_not=sentence))


def test_some_wordings_name_the_thing_as_the_caption_does() -> None:
    rng = np.random.default_rng(0)
    wordings = [wording.lower() for _ in range(20) for wording in sample_wordings("bell", "golden church bell", rng)]
    assert 0.05 < np.mean(["golden church bell" in wording for wording in wordings]) < 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_captions_name_their_phrase(kind: str) -> None:
    rng = np.random.default_rng(0)
    for phrase in names_of(kind, COLOURS[kind][0]):
        assert phrase in caption(kind, phrase, rng)
    assert not re.search(r"\ba orange", caption("ball", "orange ball", rng))


@pytest.mark.parametrize("kind", KINDS)
def test_the_nouns_of_a_thing_are_found_in_a_sentence(kind: str) -> None:
    for noun in NOUNS[kind] + OTHER_NOUNS[kind]:
        for name in (noun, f"{COLOURS[kind][0]} {noun}"):
            (found,) = noun_phrases([f"the {name} is heard"])
            assert any(name.endswith(phrase) and phrase.split()[-1] == noun.split()[-1] for phrase in found), (
                name,
                found,
            )


def test_the_vocabulary_holds_every_noun_alone_and_coloured_and_fits_one_kind() -> None:
    vocabulary = phrase_vocabulary()
    assert list(vocabulary) == sorted(set(vocabulary)) and len(vocabulary) < 600
    assert {"vehicle", "automobile", "church bell", "sparrow", "red vehicle", "rain", "alarm"} <= set(vocabulary)
    nouns = [noun for kind in KINDS for noun in NOUNS[kind] + OTHER_NOUNS[kind]]
    assert len(set(nouns)) == len(nouns)


@pytest.mark.parametrize(
    ("verb", "third", "gerund", "past", "participle"),
    [
        ("ring", "rings", "ringing", "rang", "rung"),
        ("chime", "chimes", "chiming", "chimed", "chimed"),
        ("drip", "drips", "dripping", "dripped", "dripped"),
        ("go off", "goes off", "going off", "went off", "went off"),
        ("swing and ring", "swings and rings", "swinging and ringing", "swung and rang", "swung and rung"),
        ("cry out", "cries out", "crying out", "cried out", "cried out"),
        ("tap on", "taps on", "tapping on", "tapped on", "tapped on"),
    ],
)
def test_verbs_are_inflected(verb: str, third: str, gerund: str, past: str, participle: str) -> None:
    forms = [inflect(verb, form) for form in ("base", "third", "gerund", "past", "participle")]
    assert forms == [verb, third, gerund, past, participle]


def test_nouns_have_their_plurals() -> None:
    nouns = ("church bell", "watch", "bus", "canary", "percussion", "ringing", "egg timer", "ring")
    assert [plural(noun) for noun in nouns] == [
        "church bells", "watches", "buses", "canaries", "percussion", "ringing", "egg timers", "rings",
    ]  # fmt: skip
