"""The noun-phrase chunker against hand-made annotations of real captions.

`data/noun_phrases.jsonl`: 140 captions of AudioCaps' validation and test splits (Kim et al., NAACL 2019; metadata under
the MIT licence, github.com/cdjkim/audiocaps), drawn with `random.Random(2409).sample` over all captions sorted by id. They
were annotated by reading them, before the chunker was written and by its author, so the figures say that it does what was meant;
another annotator would disagree more often. The first 70 were used to tune it, the others only to measure it.
"""

import json
import time
from pathlib import Path

import pytest

from pipelines.annotation import lexicon
from pipelines.annotation.phrases import LEXICON, chunker_version, default_model, noun_phrases, phrases_of_doc

ROWS = [json.loads(line) for line in (Path(__file__).parent / "data" / "noun_phrases.jsonl").read_text().splitlines()]


def chunk(caption: str) -> list[str]:
    return noun_phrases([caption], model=LEXICON)[0]


def head_scores(half: str) -> tuple[float, float]:
    """Recall and precision of head nouns, over all captions of one half."""
    rows = [row for row in ROWS if row["half"] == half]
    found = noun_phrases([row["caption"] for row in rows], model=LEXICON)
    hits = wanted_count = found_count = 0
    for row, phrases in zip(rows, found, strict=True):
        wanted_heads, found_heads = ({phrase.split()[-1] for phrase in names} for names in (row["phrases"], phrases))
        hits += len(wanted_heads & found_heads)
        wanted_count += len(wanted_heads)
        found_count += len(found_heads)
    return hits / wanted_count, hits / found_count


@pytest.mark.parametrize("half", ["tuning", "held_out"])
def test_heads_of_real_captions_are_found(half: str) -> None:
    assert sum(row["half"] == half for row in ROWS) == 70
    recall, precision = head_scores(half)
    print(f"{half}: recall {recall:.3f}, precision {precision:.3f}")
    assert recall >= 0.9
    assert precision >= 0.8


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red ball bounces on the floor", ["red ball", "floor"]),
        ("a bird sings on a branch", ["bird", "branch"]),
        ("Rain falls on a tin roof", ["rain", "tin roof"]),
        ("a small blue bird chirps", ["small blue bird"]),
        ("a loud bang in the distance", []),
        ("The sound of music and wind in the background", []),
        ("engine noise, then a man's voice", ["engine", "man"]),
        ("Two dogs bark and several people laugh", ["dog", "person"]),
        ("someone speaks", []),
        ("", []),
    ],
)
def test_phrases_are_visible_things(caption: str, expected: list[str]) -> None:
    assert chunk(caption) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a man drills", ["man"]),
        ("a drill whines", ["drill"]),
        ("an insect flies", ["insect"]),
        ("birds fly", ["bird"]),
        ("a fly buzzes", ["fly"]),
        ("a brass bell swings and rings", ["brass bell"]),
        ("a steam whistle blows", ["steam whistle"]),
        ("people whistle", ["person"]),
        ("it rains", []),
    ],
)
def test_agreement_tells_things_from_actions(caption: str, expected: list[str]) -> None:
    assert chunk(caption) == expected


def test_repeats_are_named_once_in_order_of_appearance() -> None:
    assert chunk("a dog barks, a cat meows, then the dog barks again") == ["dog", "cat"]


def test_parsed_noun_chunks_end_in_the_same_normal_form() -> None:
    from spacy.lang.en import English
    from spacy.tokens import Doc

    words = ["Several", "young", "girls", "hear", "the", "loud", "noise", "of", "it"]
    doc = Doc(
        English().vocab,
        words=words,
        pos=["ADJ", "ADJ", "NOUN", "VERB", "DET", "ADJ", "NOUN", "ADP", "PRON"],
        heads=[2, 2, 3, 3, 6, 6, 3, 6, 7],
        deps=["amod", "amod", "nsubj", "ROOT", "det", "amod", "dobj", "prep", "pobj"],
    )
    assert [chunk_.text for chunk_ in doc.noun_chunks] == ["Several young girls", "the loud noise", "it"]
    assert phrases_of_doc(doc) == ["young girl"]


def test_the_default_is_the_lexicon_unless_a_model_is_installed() -> None:
    from spacy.util import get_installed_models

    english_models = [name for name in get_installed_models() if name.startswith("en_core_web_")]
    assert default_model() in (english_models or [LEXICON])


def test_the_version_follows_the_word_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    before = chunker_version(LEXICON)
    assert before == chunker_version(LEXICON)
    monkeypatch.setattr(lexicon, "THINGS", lexicon.THINGS | {"theremin"})
    assert chunker_version(LEXICON) != before


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ValueError, match="'en_core_web_nowhere' is not installed"):
        noun_phrases(["a dog"], model="en_core_web_nowhere")


def test_a_thousand_captions_take_less_than_a_second_of_cpu() -> None:
    captions = [row["caption"] for row in ROWS] * 8
    chunk("warm up")
    start = time.process_time()
    noun_phrases(captions, model=LEXICON)
    assert time.process_time() - start < len(captions) / 1000
