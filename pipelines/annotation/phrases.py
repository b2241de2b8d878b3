"""Captions -> the visible things they name, the vocabulary for the object detector.

Two ways. Where an `en_core_web_*` model is installed, spaCy's noun chunks are used. Those models are not on the package
registry, so the default needs none: spaCy's blank English tokeniser, the noun, verb and adjective tables of
`spacy-lookups-data`, and the word lists of `lexicon.py`. Both end in the same normal form: lower case, no
determiners, pronouns or quantifiers, adjectives only where they say how a thing looks, sounds and abstract nouns gone,
plurals made singular (a detector's vocabulary is singular: "birds" -> "bird", "people" -> "person").

Limits of the default: it does not parse. Whether "drills" is a thing or an action is decided from the word before it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pipelines.annotation.lexicon import (
    ATTRIBUTIVE,
    ENDING_EXCEPTIONS,
    FUNCTION_WORDS,
    GERUND_MODIFIERS,
    HIDDEN,
    HIDDEN_ENDINGS,
    IRREGULAR_SINGULARS,
    LOOKS,
    QUANTIFIERS,
    THINGS,
    VERB_LIKE,
)

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

LEXICON = "lexicon"
"""Name of the chunker that needs no downloaded model."""
RULES_VERSION = 1
"""Raised when the rules of this file change what is found, so that shards are made again."""


def noun_phrases(captions: Sequence[str], *, model: str | None = None) -> list[list[str]]:
    """The visible things that each caption names, in order of appearance and without repeats.

    Args:
        captions: one caption per clip.
        model: `"lexicon"`, the name of an installed spaCy pipeline, or None for `default_model()`.

    Returns:
        One list of phrases such as "dog" or "tin roof" per caption; empty where nothing visible is named.

    Raises:
        ValueError: when the named model is not installed.
    """
    name = model or default_model()
    if name == LEXICON:
        tokenizer, tables = _tokenizer(), _tables()
        return [phrases_of_words([token.text for token in tokenizer(caption)], tables) for caption in captions]
    return [phrases_of_doc(doc) for doc in _pipeline(name).pipe(captions)]


def default_model() -> str:
    """The best installed `en_core_web_*` pipeline, else `"lexicon"`. Recorded with the phrases it made."""
    from spacy.util import get_installed_models

    installed = get_installed_models()
    return next(
        (f"en_core_web_{size}" for size in ("trf", "lg", "md", "sm") if f"en_core_web_{size}" in installed), LEXICON
    )


def chunker_version(model: str | None = None) -> str:
    """Text that changes whenever the same captions could give other phrases: chunker, its versions, its word lists."""
    from importlib.metadata import version

    from drawaudio_model.atomic_files import fingerprint
    from pipelines.annotation import lexicon

    name = model or default_model()
    package = "spacy-lookups-data" if name == LEXICON else name.replace("_", "-")
    lists = {key: sorted(value) for key, value in vars(lexicon).items() if isinstance(value, frozenset | dict)}
    parts = [name, f"rules {RULES_VERSION}", f"{package} {version(package)}", f"lists {fingerprint(lists)[:12]}"]
    return ", ".join(parts)


@dataclass(frozen=True)
class Tables:
    """Lemmas that can be nouns, verbs and adjectives, from spacy-lookups-data (WordNet 3.0)."""

    nouns: frozenset[str]
    verbs: frozenset[str]
    adjectives: frozenset[str]

    def singular(self, word: str) -> str:
        """The singular of a lower-case word; the word itself when it is none or no plural."""
        if word in IRREGULAR_SINGULARS:
            return IRREGULAR_SINGULARS[word]
        if word in THINGS or not word.endswith("s") or word.endswith(("ss", "us", "is")):
            return word
        for stem in (f"{word[:-3]}y" if word.endswith("ies") else "", word[:-1], word[:-2]):
            if stem in THINGS or (len(stem) > 2 and stem in self.nouns):
                return stem
        return word


@lru_cache(maxsize=1)
def _tables() -> Tables:
    from spacy.lookups import load_lookups

    index = load_lookups("en", ["lemma_index"]).get_table("lemma_index")
    return Tables(*(frozenset(index[part]) for part in ("noun", "verb", "adj")))


@lru_cache(maxsize=1)
def _tokenizer() -> "Callable[[str], Doc]":
    from spacy.lang.en import English

    return English().tokenizer


@lru_cache(maxsize=2)
def _pipeline(name: str) -> "Language":
    import spacy

    try:
        return spacy.load(name)
    except OSError as error:
        raise ValueError(
            f'spaCy model {name!r} is not installed; install it or choose "{LEXICON}", which needs none'
        ) from error


def phrases_of_doc(doc: "Doc") -> list[str]:
    """Visible things among the noun chunks of a parsed document, in the normal form of this file."""
    tables = _tables()
    phrases: list[str] = []
    for chunk in doc.noun_chunks:
        words = [token.text for token in chunk if token.pos_ in ("NOUN", "PROPN", "ADJ", "VERB")]
        phrases.extend(phrases_of_words(words, tables, parsed=True))
    return list(dict.fromkeys(phrases))


def phrases_of_words(words: Iterable[str], tables: Tables, *, parsed: bool = False) -> list[str]:
    """Visible things in a row of words: runs of looks and things, each run ending in a thing.

    Args:
        words: a tokenised caption, or the words of one noun chunk.
        tables: what each word can be.
        parsed: the words are known to be one noun phrase, so none of them is a finite verb.
    """
    words = [word.lower().replace("’", "'") for word in words]
    phrases: list[str] = []
    run: list[str] = []  # words of the phrase being built
    heads = 0  # how many of them are things
    previous, previous_plural = "start", False
    for i, word in enumerate(words):
        following = words[i + 1] if i + 1 < len(words) else ""
        singular = tables.singular(word)
        kind = _kind(word, singular, following, tables)
        if kind == "thing" and not parsed and _is_verb_here(word, singular, previous, previous_plural):
            kind = "verb"
        if kind == "looks":
            if heads:  # "car small": a new phrase begins
                _close(phrases, run, heads)
                run, heads = [], 0
            run.append(word)
        elif kind == "thing":
            run.append(singular)
            heads += 1
        else:
            hidden_head = kind == "hidden"
            if not (hidden_head and heads == 1 and run[-1] in ATTRIBUTIVE):
                _close(phrases, run, heads)
            run, heads = [], 0
        if kind == "joiner":
            previous = "start" if previous == "thing" else previous
        else:
            previous, previous_plural = kind, kind == "thing" and (word != singular or word == "police")
    _close(phrases, run, heads)
    return list(dict.fromkeys(phrases))


def _close(phrases: list[str], run: list[str], heads: int) -> None:
    if heads:
        phrases.append(" ".join(run))


def _kind(word: str, singular: str, following: str, tables: Tables) -> str:
    """The class of a word on its own: thing, hidden (noun), looks, opener, joiner, pronoun or verb (anything else)."""
    if word in ("and", "or"):
        return "joiner"
    if word in LOOKS and (
        word not in THINGS or following in LOOKS or _can_be_thing(tables.singular(following), tables)
    ):
        return "looks"
    if word in QUANTIFIERS:
        return "opener"
    if word in ("it", "someone", "something", "he", "she", "they", "who", "which", "that", "somebody"):
        return "pronoun"
    if word in FUNCTION_WORDS:
        return "function"
    if word.endswith("ing") and word not in THINGS:
        return "looks" if word in GERUND_MODIFIERS and _can_be_thing(tables.singular(following), tables) else "verb"
    if singular in HIDDEN:
        return "hidden"
    if _can_be_thing(singular, tables):
        return "thing"
    return "opener" if word in tables.adjectives else "verb"


def _can_be_thing(singular: str, tables: Tables) -> bool:
    """True for listed things and for nouns that are neither verb, adjective, hidden nor abstract by their ending."""
    if singular in THINGS:
        return True
    if singular in HIDDEN or singular in FUNCTION_WORDS or singular in QUANTIFIERS or len(singular) < 2:
        return False
    if (singular.endswith(HIDDEN_ENDINGS) and singular not in ENDING_EXCEPTIONS) or singular.endswith(
        ("ing", "ly", "ed")
    ):
        return False
    return singular in tables.nouns and singular not in tables.verbs and singular not in tables.adjectives


def _is_verb_here(word: str, singular: str, previous: str, previous_plural: bool) -> bool:
    """Whether a verb-like thing is the action of the word before it: "a man drills", "people whistle", "it rains"."""
    if singular not in VERB_LIKE:
        return False
    if previous in ("pronoun", "verb"):
        return word != singular or previous == "pronoun"  # "it rains", "swings and rings"; "beating drum" is none
    if previous == "thing":
        return (
            word != singular
        ) != previous_plural  # a verb agrees: "insect flies", "birds fly"; "steam whistle" is none
    return False
