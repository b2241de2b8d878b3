"""Which words of a prompt are unknown to a model, and what it says then."""

import numpy as np
import pytest
import torch

from drawaudio_model.generation.vocabulary import (
    content_words,
    nearest_wording,
    notice_of_words,
    stem,
    unknown_words,
    vocabulary_of,
)
from pipelines.sources.demo.language import sample_wordings

CAPTIONS = ["the red bell chimes loudly in the distance", "Two drums are tapped", "a siren wails", "rainy weather"]


def test_known_are_the_words_that_say_what_sounds() -> None:
    assert vocabulary_of(CAPTIONS) == ["bell", "chimes", "drums", "rainy", "siren", "tapped", "wails", "weather"]


@pytest.mark.parametrize(
    "forms",
    [
        ("chime", "chimes", "chimed", "chiming"),
        ("drip", "drips", "dripped", "dripping"),
        ("church", "churches"),
        ("cry", "cries", "cried"),
        ("bird", "birds"),
        ("drum", "drummer", "drumming", "drums"),
    ],
)
def test_forms_of_a_word_share_their_stem(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


def test_words_of_different_things_have_different_stems() -> None:
    words = ("bell", "ball", "bird", "car", "clock", "drum", "rain", "siren", "ring", "wing", "tick", "tock")
    assert len({stem(word) for word in words}) == len(words)


def test_another_form_of_a_known_word_is_known() -> None:
    vocabulary = vocabulary_of(CAPTIONS)
    assert unknown_words("Tapping on a DRUM, twice", vocabulary) == []
    assert unknown_words("a dragon roars at the bell, and the dragon's fire", vocabulary) == ["dragon", "roars", "fire"]


def test_manner_numbers_colours_and_function_words_are_never_unknown() -> None:
    assert content_words("two very loud, distant blue ones over there, 3 times, slowly and suddenly") == []
    assert unknown_words("the sound of something", []) == []


def test_the_nearest_wording_is_that_of_the_largest_cosine() -> None:
    wordings = ["a bell", "a drum", "a siren"]
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]])
    assert nearest_wording(torch.tensor([0.1, 0.8]), embeddings, wordings) == "a drum"
    assert nearest_wording(torch.tensor([0.1, 0.1]), embeddings, wordings) == "a siren"
    with pytest.raises(ValueError, match="2 wordings have 3 embeddings"):
        nearest_wording(torch.ones(2), embeddings, wordings[:2])


def test_a_notice_is_given_only_when_no_content_word_is_known() -> None:
    vocabulary, wordings, embeddings = vocabulary_of(CAPTIONS), ["a drum", "a siren wails"], torch.eye(2)
    siren = torch.tensor([0.2, 0.9])

    def notice(prompt: str) -> str | None:
        return notice_of_words(prompt, vocabulary, siren, embeddings, wordings)

    sentence = "the model knows no word of 'a dragon roars'; the nearest that it knows is 'a siren wails'"
    assert notice("a dragon roars") == sentence
    assert notice("a dragon roars at a bell") is None
    assert notice("") is None
    assert notice("something loud") is None


def test_the_demos_wordings_are_known_to_a_model_that_learnt_them() -> None:
    wordings = sample_wordings("bell", "golden bell", np.random.default_rng(0))
    vocabulary = vocabulary_of(wordings)
    assert 20 < len(vocabulary) < 120
    assert all(unknown_words(wording, vocabulary) == [] for wording in wordings)
