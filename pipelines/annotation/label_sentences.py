"""VGGSound's class labels as sentences that a person could have written about the sound.

"dog barking" -> "A dog is barking.", "playing violin, fiddle" -> "Someone is playing the violin.". The labels follow a
few patterns; those that follow none are written out in SENTENCES. A label of another dataset goes through the same
patterns, and at worst becomes "The sound of <label>.".
"""

SENTENCES = {
    "air conditioning noise": "An air conditioner is humming.",
    "air horn": "An air horn is sounding.",
    "airplane": "An airplane is flying.",
    "airplane flyby": "An airplane is flying by.",
    "ambulance siren": "An ambulance is sounding its siren.",
    "arc welding": "Someone is welding metal with an electric arc.",
    "baby laughter": "A baby is laughing.",
    "basketball bounce": "A basketball is bouncing.",
    "bathroom ventilation fan running": "A bathroom fan is running.",
    "beat boxing": "Someone is beatboxing.",
    "bee, wasp, etc. buzzing": "Bees are buzzing.",
    "bird wings flapping": "A bird is flapping its wings.",
    "bouncing on trampoline": "Someone is bouncing on a trampoline.",
    "bowling impact": "A bowling ball is hitting the pins.",
    "cap gun shooting": "Someone is shooting a cap gun.",
    "cattle, bovinae cowbell": "Cowbells of cattle are ringing.",
    "cheetah chirrup": "A cheetah is chirruping.",
    "chicken clucking": "A chicken is clucking.",
    "child singing": "A child is singing.",
    "child speech, kid speaking": "A child is speaking.",
    "civil defense siren": "A civil defense siren is wailing.",
    "cupboard opening or closing": "A cupboard is opening and closing.",
    "cutting hair with electric trimmers": "Someone is cutting hair with electric trimmers.",
    "disc scratching": "A DJ is scratching a record.",
    "dog bow-wow": "A dog is barking.",
    "donkey, ass braying": "A donkey is braying.",
    "driving buses": "A bus is driving.",
    "driving motorcycle": "Someone is driving a motorcycle.",
    "driving snowmobile": "Someone is driving a snowmobile.",
    "electric shaver, electric razor shaving": "Someone is shaving with an electric razor.",
    "eletric blender running": "An electric blender is running.",
    "engine accelerating, revving, vroom": "An engine is accelerating and revving.",
    "female singing": "A woman is singing.",
    "female speech, woman speaking": "A woman is speaking.",
    "fire truck siren": "A fire truck is sounding its siren.",
    "fireworks banging": "Fireworks are banging.",
    "firing cannon": "Someone is firing a cannon.",
    "foghorn": "A foghorn is sounding.",
    "footsteps on snow": "Someone is walking on snow.",
    "golf driving": "Someone is hitting a golf ball.",
    "hail": "Hail is falling.",
    "hair dryer drying": "A hair dryer is running.",
    "heart sounds, heartbeat": "A heart is beating.",
    "helicopter": "A helicopter is flying.",
    "horse clip-clop": "A horse's hooves are clopping.",
    "ice cream truck, ice cream van": "An ice cream truck is playing its tune.",
    "lawn mowing": "Someone is mowing the lawn.",
    "lighting firecrackers": "Someone is lighting firecrackers.",
    "lip smacking": "Someone is smacking their lips.",
    "machine gun shooting": "Someone is shooting a machine gun.",
    "male singing": "A man is singing.",
    "male speech, man speaking": "A man is speaking.",
    "metronome": "A metronome is ticking.",
    "missile launch": "A missile is being launched.",
    "motorboat, speedboat acceleration": "A motorboat is speeding up.",
    "ocean burbling": "The ocean is burbling.",
    "opening or closing car doors": "Someone is opening and closing car doors.",
    "opening or closing car electric windows": "Someone is opening and closing a car's electric windows.",
    "opening or closing drawers": "Someone is opening and closing drawers.",
    "orchestra": "An orchestra is playing.",
    "people battle cry": "People are shouting a battle cry.",
    "people belly laughing": "People are laughing loudly.",
    "people crowd": "A crowd of people is making noise.",
    "people eating apple": "Someone is eating an apple.",
    "people eating noodle": "Someone is eating noodles.",
    "people finger snapping": "People are snapping their fingers.",
    "people hiccup": "Someone has the hiccups.",
    "people nose blowing": "Someone is blowing their nose.",
    "plastic bottle crushing": "Someone is crushing a plastic bottle.",
    "playing bongo": "Someone is playing the bongos.",
    "playing cymbal": "Someone is playing a cymbal.",
    "police car (siren)": "A police car is sounding its siren.",
    "police radio chatter": "A police radio is chattering.",
    "race car, auto racing": "Race cars are driving past.",
    "railroad car, train wagon": "A train is rolling on its rails.",
    "raining": "Rain is falling.",
    "reversing beeps": "A reversing vehicle is beeping.",
    "rope skipping": "Someone is skipping rope.",
    "rowboat, canoe, kayak rowing": "Someone is rowing a boat.",
    "running electric fan": "An electric fan is running.",
    "sailing": "A boat is sailing.",
    "scuba diving": "Someone is scuba diving.",
    "sea waves": "Waves of the sea are breaking.",
    "sharpen knife": "Someone is sharpening a knife.",
    "shot football": "Someone is kicking a football.",
    "singing bowl": "A singing bowl is ringing.",
    "singing choir": "A choir is singing.",
    "skidding": "A car is skidding.",
    "sliding door": "A sliding door is moving.",
    "sloshing water": "Water is sloshing.",
    "slot machine": "A slot machine is running.",
    "splashing water": "Water is splashing.",
    "spraying water": "Water is spraying.",
    "squishing water": "Water is squishing.",
    "strike lighter": "Someone is striking a lighter.",
    "striking bowling": "A bowling ball is hitting the pins.",
    "striking pool": "Someone is striking pool balls.",
    "subway, metro, underground": "A subway train is passing.",
    "tap dancing": "Someone is tap dancing.",
    "tapping guitar": "Someone is tapping a guitar.",
    "thunder": "Thunder is rumbling.",
    "train horning": "A train is sounding its horn.",
    "train wheels squealing": "The wheels of a train are squealing.",
    "typing on computer keyboard": "Someone is typing on a computer keyboard.",
    "typing on typewriter": "Someone is typing on a typewriter.",
    "underwater bubbling": "Bubbles are rising under water.",
    "vehicle horn, car horn, honking": "A car is honking its horn.",
    "volcano explosion": "A volcano is erupting.",
    "wind chime": "Wind chimes are ringing.",
    "wind noise": "The wind is blowing.",
    "wind rustling leaves": "The wind is rustling the leaves.",
    "woodpecker pecking tree": "A woodpecker is pecking at a tree.",
    "writing on blackboard with chalk": "Someone is writing on a blackboard with chalk.",
}
"""Labels whose sentence follows from no pattern."""

GAMES = frozenset("squash badminton volleyball hockey tennis darts lacrosse".split()) | {"table tennis"}
"""Things that are played without an article."""
UNCOUNTED = frozenset("ice fire popcorn water timber wood food paper lightning music traffic".split())
"""Nouns without an article."""
PLURALS = frozenset("people cattle children sheep geese".split())
"""Plural nouns without an s; "sheep" of a label are several."""
NO_VERB = frozenset("ceiling evening morning spring string building".split())
"""Words in -ing that are no action."""


def label_sentence(label: str) -> str:
    """A sentence for a class label, with capital and full stop.

    Raises:
        ValueError: for an empty label.
    """
    text = " ".join(label.split())
    if not text:
        raise ValueError("the label is empty, expected words such as 'dog barking'; correct the clip list")
    if text in SENTENCES:
        return SENTENCES[text]
    parts = [part.strip() for part in text.split(",")]
    words = _with_action(parts).split()
    if words[0] == "playing" and len(words) > 1:
        thing = " ".join(parts[0].split()[1:])
        return f"Someone is playing {thing if thing in GAMES else f'the {thing}'}."
    if _is_action(words[0]):
        return f"Someone is {' '.join(words)}."
    for place, word in enumerate(words[1:], start=1):
        if _is_action(word):
            subject, action = words[:place], words[place:]
            return _capital(f"{_with_article(subject)} {'are' if _is_plural(subject) else 'is'} {' '.join(action)}.")
    return f"The sound of {_with_article(parts[0].split())}."


def _with_action(parts: list[str]) -> str:
    """The first alternative that says what happens: "pigeon, dove cooing" -> "dove cooing"."""
    return next((part for part in parts if any(map(_is_action, part.split()))), parts[0])


def _is_action(word: str) -> bool:
    return word.endswith("ing") and len(word) > 5 and word not in NO_VERB


def _is_plural(words: list[str]) -> bool:
    last = words[-1]
    return last in PLURALS or (last.endswith("s") and not last.endswith(("ss", "us", "is")))


def _with_article(words: list[str]) -> str:
    if words[-1] in UNCOUNTED or _is_plural(words):
        return " ".join(words)
    return f"{'an' if words[0][0].lower() in 'aeiou' else 'a'} {' '.join(words)}"


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
