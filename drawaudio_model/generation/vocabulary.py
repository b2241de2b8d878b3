"""The words of a prompt that no training text had, and the nearest training text, for a notice.

A model that learnt from a few captions does not know other words, and generates a sound for them all the same; the user
should be told. Words are compared by their stems, so that another form of a known word is known.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import Tensor

_FUNCTION_WORDS = frozenset(
    """
    a about above across after again against all along also am among an and another any are around as at away back be been
    before behind being below beside between both but by can close could did do does doing down during each either else
    every far few for from had has have he her here him his how i if in inside into is it its itself just like made make
    makes making many may me more most much my near nearby next no nor not of off on once one ones only onto or other our out
    outside over own past please she side since so some somebody someone something somewhere than that the their them then
    there these they this those through till to together too toward towards twice under until up upon us very via was we
    were what when where which while who whose will with within without would yet you your
    """.split()
)
"""Words without a sound of their own."""

_MANNER_WORDS = frozenset(
    """
    loud soft quiet slow fast quick steady distant faint single gentle short long deep sharp continuous strong heavy light
    small big old new little huge tiny large great giant constant rapid sudden muffled clear bright dull low high brief
    regular several couple distance background foreground echo reverb time sound noise audio sfx effect recording hear close
    two three four five six seven eight nine ten dozen hundred first second third last pair
    red orange yellow green blue purple pink white black brown grey gray golden gold silver copper dark violet
    man woman person people boy girl child kid
    """.split()
)
"""Words that say how, how many, how large, of what colour, or that this is about a sound: no model can lack them."""

_ENDINGS = ("ings", "ing", "iest", "ies", "ied", "ily", "ers", "est", "ed", "es", "er", "ly", "s", "y", "e")
"""Of English word forms, the longest first."""


def stem(word: str) -> str:
    """The part that the forms of an English word share, roughly: "chim" of chime, chimes, chiming; "drip" of dripped.

    At least three letters stay.
    """
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: len(word) - len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou":
        return word[:-1]
    return f"{word[:-1]}y" if word.endswith("i") else word


def content_words(text: str) -> list[str]:
    """The words that say what sounds, lower case, in order: no function words, numbers, colours or words of manner."""
    words = [word.removesuffix("'s") for word in re.findall(r"[^\W\d_]+(?:'[a-z]+)?", text.lower())]
    return [word for word in words if word not in _FUNCTION_WORDS and stem(word) not in _manner_stems()]


@cache
def _manner_stems() -> frozenset[str]:
    return frozenset(stem(word) for word in _MANNER_WORDS)


def vocabulary_of(captions: Iterable[str]) -> list[str]:
    """The content words of all captions and wordings that a model learnt from, lower case, sorted."""
    return sorted({word for caption in captions for word in content_words(caption)})


def unknown_words(prompt: str, vocabulary: Iterable[str]) -> list[str]:
    """The content words of a prompt of which no form is known, in order and without repeats."""
    stems = {stem(word) for word in vocabulary}
    return [word for word in dict.fromkeys(content_words(prompt)) if stem(word) not in stems]


def nearest_wording(prompt_embedding: Tensor, wording_embeddings: Tensor, wordings: Sequence[str]) -> str:
    """The wording whose CLAP text embedding has the largest cosine with the prompt's.

    Args:
        prompt_embedding: (D,).
        wording_embeddings: (wordings, D).
        wordings: as many strings.

    Raises:
        ValueError: when there are no wordings, or not as many as embeddings.
    """
    if not wordings or len(wordings) != len(wording_embeddings):
        raise ValueError(
            f"{len(wordings)} wordings have {len(wording_embeddings)} embeddings, expected as many each and at least one"
        )
    cosines = torch.nn.functional.cosine_similarity(wording_embeddings.float(), prompt_embedding.float()[None], dim=1)
    return wordings[int(cosines.argmax())]


def notice_of_words(
    prompt: str,
    vocabulary: Iterable[str],
    prompt_embedding: Tensor,
    wording_embeddings: Tensor,
    wordings: Sequence[str],
) -> str | None:
    """One sentence for the user when a prompt has content words and the model knows none of them, else None.

    Args:
        prompt: what the user typed.
        vocabulary: `vocabulary_of` of all that the model learnt from.
        prompt_embedding: CLAP's text embedding of the prompt, (D,).
        wording_embeddings: of the wordings, (wordings, D).
        wordings: texts that the model knows, one of which is named.
    """
    words = dict.fromkeys(content_words(prompt))
    unknown = unknown_words(prompt, vocabulary)
    if not words or len(unknown) < len(words):
        return None
    nearest = nearest_wording(prompt_embedding, wording_embeddings, wordings)
    return f"the model knows no word of {prompt!r}; the nearest that it knows is {nearest!r}"
