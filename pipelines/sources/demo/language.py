"""The language of the demo world: captions that name a clip's thing, and wordings that ask for its sound.

A caption is a short sentence about the thing as it is seen, with its colour ("the red ball bounces on the floor"). A
wording says the same as a person would type it who wants the sound: a sentence, a fragment ("church bell, slow"), a sound
without a thing ("a dull thud"), an imitation ("tick tick tick"). Some name the thing with the caption's words.

Words of the kinds are in `words.py`; what is here says nothing about the kind.
"""

import re
from collections.abc import Callable
from functools import cache

import numpy as np

from pipelines.sources.demo.words import PARTICIPLES, PAST, UNSAID, WORDS, listed

COLOURS = {
    "ball": ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white"),
    "bell": ("golden", "silver", "copper"),
    "drum": ("red", "blue", "green", "orange", "purple", "white"),
    "car": ("red", "yellow", "green", "blue", "white", "black"),
    "bird": ("red", "yellow", "green", "blue", "brown", "pink"),
    "rain": ("grey", "black", "white"),
    "siren": ("red", "orange", "blue"),
    "clock": ("brown", "black", "white", "green"),
}
NOUNS = {
    "ball": ("ball", "rubber ball"),
    "bell": ("bell", "church bell"),
    "drum": ("drum", "snare drum"),
    "car": ("car",),
    "bird": ("bird", "songbird"),
    "rain": ("cloud", "rain cloud"),
    "siren": ("siren", "siren lamp"),
    "clock": ("clock", "pendulum clock"),
}
"""Its name in a caption."""
OTHER_NOUNS = {
    "ball": ("basketball", "football", "tennis ball", "bouncy ball", "beach ball", "toy ball", "soccer ball"),
    "bell": ("brass bell", "handbell", "tower bell", "school bell", "gong", "bronze bell"),
    "drum": ("bass drum", "tom", "bongo", "kettle drum", "big drum", "hand drum"),
    "car": ("vehicle", "automobile", "truck", "van", "taxi", "sedan", "sports car"),
    "bird": ("sparrow", "robin", "canary", "finch", "blackbird", "parrot", "little bird"),
    "rain": ("rain", "storm cloud", "raincloud", "thundercloud"),
    "siren": ("alarm", "police siren", "alarm lamp", "warning lamp", "beacon", "alarm siren"),
    "clock": ("wall clock", "grandfather clock", "timepiece", "pendulum", "cuckoo clock", "watch"),
}
"""Other names that a person may give it when pointing at it."""
CAPTIONS = {
    "ball": (
        "{A} bounces on the floor",
        "{A} keeps bouncing with dull thuds",
        "{A} drops and bounces until it lies still",
        "a thud each time {a} hits the floor",
    ),
    "bell": (
        "{A} swings and rings",
        "{A} is ringing",
        "the ringing of {a} as it swings from side to side",
        "{A} tolls again and again",
    ),
    "drum": (
        "a stick beats {a}",
        "{A} is played with a stick",
        "someone hits {a} with a stick",
        "{A} rattles under the strokes of a stick",
    ),
    "car": (
        "{A} drives up and away again",
        "{A} comes closer with a rumbling engine",
        "the engine of {a} grows louder and fades",
        "{A} passes by on the road",
    ),
    "bird": (
        "{A} chirps on a branch",
        "{A} sings with its beak wide open",
        "{A} is chirping and tweeting",
        "the chirps of {a} on a branch",
    ),
    "rain": (
        "rain falls from {a} on a tin roof",
        "{A} pours rain on a tin roof",
        "rain patters down from {a}",
        "a shower of rain falls from {a}",
    ),
    "siren": (
        "{A} wails and flashes",
        "{A} goes off",
        "the wail of {a} that lights up",
        "{A} flashes while it howls",
    ),
    "clock": (
        "{A} ticks",
        "{A} is ticking on the wall",
        "the ticking of {a}",
        "{A} ticks as its pendulum swings",
    ),
}
"""{A} and {a} are the thing's phrase with an article."""

WORDINGS_PER_CLIP = 24


def names_of(kind: str, colour: str) -> list[str]:
    """All noun phrases that may name a thing of that kind and colour, sorted: each noun alone and after the colour."""
    nouns = NOUNS[kind] + OTHER_NOUNS[kind]
    return sorted({*nouns, *(f"{colour} {noun}" for noun in nouns)})


def phrase_vocabulary() -> tuple[str, ...]:
    """Every noun phrase that may name an object, sorted: what an object detector of this world must know."""
    return tuple(sorted({name for kind, own in COLOURS.items() for colour in own for name in names_of(kind, colour)}))


def caption(kind: str, phrase: str, rng: np.random.Generator) -> str:
    """A short sentence about the thing that `phrase` names."""
    template = str(rng.choice(CAPTIONS[kind]))
    named = f"{rng.choice(['a', 'the'])} {phrase}".replace("a orange", "an orange")
    return template.format(A=named, a=named)


def sample_wordings(
    kind: str, phrase: str, rng: np.random.Generator, *, count: int = WORDINGS_PER_CLIP, also_not: str = ""
) -> tuple[str, ...]:
    """`count` wordings for the sound of the kind, no two alike in their words.

    Args:
        kind: of the thing that sounds.
        phrase: what the clip's caption calls it; about one wording in eight does so too.
        rng: the only source of chance.
        count: how many.
        also_not: another wording that is not to be said.
    """
    said = {plain(also_not)}
    wordings: list[str] = []
    while len(wordings) < count:
        wording = _dress(_compose(kind, phrase if rng.random() < 0.12 else None, rng), rng)
        words = plain(wording)
        if words not in said and not is_unsaid(kind, words):
            said.add(words)
            wordings.append(wording)
    return tuple(wordings)


def is_unsaid(kind: str, words: str) -> bool:
    """Whether a wording in `plain` form is one of those that the grammar never makes.

    They are what anybody would type first: up to three words with the kind's plainest noun ("a bell rings", "heavy
    rain"), and UNSAID. So a model can be asked with what it never read.
    """
    noun = (WORDS[kind].things if kind != "rain" else WORDS[kind].masses)[0]
    parts = words.split()
    return words in UNSAID or (len(parts) <= 3 and (noun in parts or plural(noun) in parts))


def plain(wording: str) -> str:
    """The words alone: lower case, without punctuation and hyphens, single spaces."""
    return " ".join(re.findall(r"[a-z0-9']+", wording.lower()))


# Templates

_SENTENCES = (
    "{np} {acts}",
    "{np} {acts}",
    "{np} is {acting}",
    "{np} {acted}",
    "{noun} {acting}",
    "{noun} {acting}",
    "{plural} {act}",
    "{plural} {acting}",
    "{plural} {acted}",
    "{np} was {acting}",
    "{np} that {acts}",
    "{np} {acts} and {acts}",
    "{np} {acting} {place}",
    "{noun} {acting} {place}",
    "{np} {acts} {place}",
    "{plural} {place}",
    "{np} {place}",
    "{act} like {np}",
    "as {np} {acts}",
    "{np} starts {acting}",
    "{np} keeps {acting}",
    "{np} begins to {act}",
    "{number} {plural} {acting}",
    "{noun} {acts}",
)
_NAMED_SOUNDS = (
    "the sound of {np}",
    "the sound of {np} {acting}",
    "sound of {np} {acting}",
    "the {sound} of {np}",
    "{sound} of {np}",
    "the {acting1} of {np}",
    "{noun} {sound}",
    "{noun} {sound}",
    "{noun} {sounds}",
    "{noun} sound",
    "{noun} sound effect",
    "{noun} noise",
    "{adjective} {noun} {sound}",
    "{acting1} {noun}",
    "{acting1} {plural}",
    "{adjective} {acting1} {noun}",
    "{sounds} of {np}",
    "{sounds} from {np}",
    "{adjective} {sounds} of {plural}",
    "{np} makes {a_sound}",
    "{np} with {a_sound}",
)
_FRAGMENTS = (
    "{noun}",
    "{plural}",
    "{adjective} {noun}",
    "{adjective} {plural}",
    "{noun}, {adjective}",
    "{noun}, {adjective} and {adjective}",
    "{noun}, {number} {sounds}",
    "{noun}, one {sound}",
    "{noun}, {a_sound}",
    "{noun}, {sound}",
    "{noun}, {sounds}",
    "{plural}, {adverb}",
    "{noun}, {acting}",
    "{noun}: {adjective} {sound}",
    "{noun} {place}",
    "{noun}, {cry}",
    "single {noun} {sound}",
    "{number} {plural}",
)
_SOUNDS = (
    "{a_sound}",
    "{adjective} {sound}",
    "{adjective} {sounds}",
    "{sounds}",
    "{number} {adjective} {sounds}",
    "{adjective}, {adjective} {sound}",
    "{sounds} {place}",
    "{own_acting}",
    "{own_acting} {place}",
    "{adverb} {own_acting}",
    "something {own_acts}",
    "something {own_acting}",
    "something is {own_acting}",
    "it {own_acts}",
    "it {own_acted}",
    "{own_acting} and {own_acting}",
    "{adjective} {own_acting}",
    "hear it {own_act}",
)
_CRIES = (
    "{cry}",
    "{cry}",
    "{cry}!",
    "{cry}, {cry}, {cry}",
    "{cry} {cry}",
    "{cry}, {cry}",
    "{cry}... {cry}...",
    "{noun} going {cry}",
    "{np} goes {cry}",
    "{cry} goes {np}",
    "{cry}, {noun}",
    "{cry} {cry} {cry}",
    "{adjective} {cry}",
)
_DEEDS = (
    "{someone} {does} {np}",
    "{someone} {does} {np}",
    "{someone} {doing} {np}",
    "{someone} is {doing} {np}",
    "{someone} {did} {np}",
    "{doing} {np}",
    "{doing} {plural}",
    "{np} is {done}",
    "{np} being {done}",
    "{noun} being {done}",
    "{np} was {done}",
    "{someone} {does} {np} {place}",
    "{doing} {np} {place}",
    "{someone} {does} {plural}",
    "{noun} {done} {place}",
)
_TAILS = listed(
    """
    in the distance, far away, nearby, close up, in the background, again and again, over and over, once, twice,
    three times, several times, outside, outdoors, indoors, at night, a few times, from afar, at a distance, for a
    while, without pause, getting louder, getting quieter, fading out, fading away, growing louder, and stops, then
    silence, with echo, with reverb, with pauses, at regular intervals, all the time, up close, in a big room,
    somewhere, in the dark, repeatedly, then fades, faster and faster, slower and slower, next door, at full volume,
    on its own, all day, every day, one after another, in town, during the day, loud and clear, for ten seconds,
    inside a building, and again, from left to right
    """
)
_ADVERBS = tuple(
    """
    loudly softly quietly slowly quickly steadily gently faintly briefly continuously rhythmically suddenly sharply
    constantly regularly repeatedly distantly strongly wildly calmly noisily
    """.split()
)
_ADJECTIVES = tuple(
    """
    loud soft quiet slow fast steady distant faint single repeated gentle short long deep sharp continuous strong
    heavy light small big old little constant rapid sudden muffled clear bright dull low high brief regular large
    nearby far-off noisy huge tiny new lone several many intense calm hard
    """.split()
)
_NUMBERS = ("one", "two", "three", "four", "several", "a few", "many", "some", "a couple of", "five", "six", "a single")
_SOMEONE = ("someone", "somebody", "a man", "a woman", "a person", "he", "she")
_HEARING = listed(
    """
    sound of, the sound of, recording of, we hear, you can hear, sound effect of, sfx, noise of, field recording of,
    sounds of, i hear, add, foley of, there is, play, the noise of, audio of, close-up of, sfx:, the distant sound
    of, hear
    """
)


def _compose(kind: str, phrase: str | None, rng: np.random.Generator) -> str:
    """One wording in lower case; it names the thing by `phrase` where one is given."""
    words = WORDS[kind]
    share = rng.random()
    if phrase is None and share < 0.2:
        wording = _pick(words.fragments, rng)
    elif phrase is None and share < 0.34:
        wording = _fill(_pick(_SOUNDS, rng), kind, None, rng)
    elif phrase is None and share < 0.42:
        return _fill(_pick(_CRIES, rng), kind, None, rng)
    else:
        families = [_SENTENCES, _NAMED_SOUNDS, _FRAGMENTS] + ([_DEEDS] if words.deeds else [])
        wording = _fill(_pick(families[int(rng.integers(len(families)))], rng), kind, phrase, rng)
    tail = rng.random()
    if tail < 0.2:
        joint = ", " if rng.random() < 0.3 else " "
        wording = f"{wording}{joint}{_pick(_TAILS, rng)}"
    elif tail < 0.28:
        wording = f"{wording} {_pick(_ADVERBS, rng)}"
    elif tail < 0.36:
        wording = f"{_pick(_HEARING, rng)} {wording}"
    return wording


def _fill(template: str, kind: str, phrase: str | None, rng: np.random.Generator) -> str:
    words = WORDS[kind]
    mass = phrase is None and bool(words.masses) and rng.random() < (0.6 if kind == "rain" else 0.15)
    noun = phrase or _pick(words.masses if mass else words.things, rng)

    def slot(match: re.Match[str]) -> str:
        return _SLOTS[match[1]](kind, noun, mass, rng)

    return re.sub(r"\{(\w+)\}", slot, template)


Slot = Callable[[str, str, bool, np.random.Generator], str]
"""(kind, noun, whether it is a mass noun, source of chance) -> the words of a template's slot."""


def _noun_phrase(kind: str, noun: str, mass: bool, rng: np.random.Generator) -> str:
    described = f"{_pick(_ADJECTIVES, rng)} {noun}" if rng.random() < 0.2 else noun
    if mass:
        return described if rng.random() < 0.8 else f"the {described}"
    return _with_article(described) if rng.random() < 0.7 else f"the {described}"


def _act(form: str, own: bool = False) -> Slot:
    def fill(kind: str, noun: str, mass: bool, rng: np.random.Generator) -> str:
        verb = _pick(_own_acts(kind) if own else WORDS[kind].acts, rng)
        return inflect(verb, form)

    return fill


def _deed(form: str) -> Slot:
    return lambda kind, noun, mass, rng: inflect(_pick(WORDS[kind].deeds, rng), form)


def _someone(kind: str, noun: str, mass: bool, rng: np.random.Generator) -> str:
    return _pick(WORDS[kind].doers if rng.random() < 0.4 else _SOMEONE, rng)


_SLOTS: dict[str, Slot] = {
    "np": _noun_phrase,
    "noun": lambda kind, noun, mass, rng: noun,
    "plural": lambda kind, noun, mass, rng: noun if mass else plural(noun),
    "act": _act("base"),
    "acts": _act("third"),
    "acting": _act("gerund"),
    "acting1": lambda kind, noun, mass, rng: inflect(_pick(WORDS[kind].acts, rng).split()[0], "gerund"),
    "acted": _act("past"),
    "own_act": _act("base", own=True),
    "own_acts": _act("third", own=True),
    "own_acting": _act("gerund", own=True),
    "own_acted": _act("past", own=True),
    "does": _deed("third"),
    "doing": _deed("gerund"),
    "did": _deed("past"),
    "done": _deed("participle"),
    "sound": lambda kind, noun, mass, rng: _pick(WORDS[kind].sounds, rng),
    "a_sound": lambda kind, noun, mass, rng: _with_article(_pick(WORDS[kind].sounds, rng)),
    "sounds": lambda kind, noun, mass, rng: plural(_pick(WORDS[kind].sounds, rng)),
    "cry": lambda kind, noun, mass, rng: _pick(WORDS[kind].cries, rng),
    "place": lambda kind, noun, mass, rng: _pick(WORDS[kind].places, rng),
    "someone": _someone,
    "number": lambda kind, noun, mass, rng: _pick(_NUMBERS, rng),
    "adjective": lambda kind, noun, mass, rng: _pick(_ADJECTIVES, rng),
    "adverb": lambda kind, noun, mass, rng: _pick(_ADVERBS, rng),
}


@cache
def _own_acts(kind: str) -> tuple[str, ...]:
    """The acts that tell the kind without a noun: those whose first word no other kind says at all."""
    others = {word for other, words in WORDS.items() if other != kind for word in _verbs(words.acts + words.deeds)}
    others |= {word for other, words in WORDS.items() if other != kind for word in _verbs(words.sounds)}
    return tuple(act for act in WORDS[kind].acts if act.split()[0] not in others)


def _verbs(phrases: tuple[str, ...]) -> set[str]:
    return {phrase.split()[0] for phrase in phrases}


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _dress(wording: str, rng: np.random.Generator) -> str:
    """The wording with the capitals and the full stop that some people type."""
    style = rng.random()
    if style < 0.2:
        wording = wording[0].upper() + wording[1:]
    elif style < 0.22:
        wording = wording.title()
    return f"{wording}." if style < 0.06 and wording[-1].isalpha() else wording


# Word forms


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeio" or noun.startswith(("umbrella", "SUV")) else f"a {noun}"


def plural(noun: str) -> str:
    """The plural of a noun phrase's last word; words in -ing, mass nouns and plurals stay."""
    head = noun.split()[-1]
    gerund = head.endswith("ing") and len(head) > len("swing")
    if (
        gerund
        or head.endswith(("percussion", "noise", "weather"))
        or (head.endswith("s") and head[-2:] not in ("ss", "us"))
    ):
        return noun
    return _with_s(noun)


def _with_s(word: str) -> str:
    if word.endswith(("ch", "sh", "x", "z", "s")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2] not in "aeiou" else f"{word}s"


def inflect(phrase: str, form: str) -> str:
    """A verb phrase with its verbs in a form: base, third (person), gerund, past or participle.

    The first word is a verb, and so is a word after "and".
    """
    words = phrase.split()
    for place, word in enumerate(words):
        if place == 0 or (words[place - 1] == "and" and word not in ("down", "forth", "fro")):
            words[place] = _inflect_word(word, form)
    return " ".join(words)


def _inflect_word(verb: str, form: str) -> str:
    if form == "base":
        return verb
    if form == "third":
        return "goes" if verb == "go" else _with_s(verb)
    if form == "participle" and verb in PARTICIPLES:
        return PARTICIPLES[verb]
    if form in ("past", "participle") and verb in PAST:
        return PAST[verb]
    ending = "ing" if form == "gerund" else "ed"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + ending
    if verb.endswith("y") and verb[-2] not in "aeiou" and ending == "ed":
        return f"{verb[:-1]}ied"
    if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", verb) or verb in _DOUBLED:
        return verb + verb[-1] + ending
    return verb + ending


_DOUBLED = frozenset({"begin", "quiz"})
