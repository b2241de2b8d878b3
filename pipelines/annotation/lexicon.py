"""Word lists of the noun-phrase chunker: which words of a sound caption name a visible thing.

spaCy's lookup tables say that a word *can be* a noun; they do not say that the noun can be seen, nor that it is a noun
here ("a man drills", "a drill whines"). These lists add what the tables lack. They were written from the words of
AudioCaps' training captions; the captions that measure the chunker come from its validation and test split.

All words are singular and lower case.
"""

THINGS = frozenset(
    """
    adult air-conditioner airplane alarm animal artillery audience automobile axe baby bag ball balloon band bar
    basin basket basketball bass bat baton beach beacon beak bear bed bee beer bell belt bicycle bike bird blade
    board boat bolt bomb bongo book boot bottle bow bowl bowling-ball box boy brake branch brick bridge broom brush
    bucket bug building bull bus bush button cable caboose cage calf can canary canine cannon cap car card cart cat
    ceiling chain chair chalk chick chicken child choir clam clapper claw clock cloth clothing cloud club coin
    collar computer cook cord cork cow crab crane cricket crow crowd cup curtain cutlery cymbal dial dirt dish dock
    dog doll dolphin door dove drain drawer drill drum drumstick duck engine exhaust fabric face fan father faucet
    feather female file finger fingernail fire firework fish flag flame float flock floor flute fly foliage food
    foot fork frog gate gear girl glass goat gong goose grass gravel grease grill gun gutter guy hail hammer hand
    handle hawk hay heater hen herd hinge hive hog hoof hook horn horse hose hound house human hydrant ice infant
    insect instrument iron jar jet kettle key keyboard kid kitten knife ladder lady lamb lamp latch leaf leash lever
    lid lighter lion liquid lock locomotive log machine machinery male man marble material mechanic metal microwave
    mirror missile mole monkey moose mother motor motorbike motorboat motorcycle mouse mouth mower mud muffler nail
    needle nose object oil owl oyster package paddle paint pan paper parent parrot peacock pedal pen pencil person
    pet phone piano pier pig pigeon pin pinball pipe plane plant plastic plate plow plug pole police pony pool port
    pot printer projector propeller puddle pump pup puppet puppy rabbit racer radio raft rail railing railroad rain
    raincloud ram rat reel rifle river road rock rocket roof rooster rope sail sand sandal sandpaper saw saxophone
    scissors scooter screen screw screwdriver sea seagull seal sewer sheep shell ship shoe shore shovel shower
    shutter silverware singer sink siren skate skateboard ski skillet slot smoke snake snare sneaker snow soap
    speaker spectator spoon spray sprayer spring sprinkler squirrel stapler steam steamer stick stone stove straw
    stream string stroller surf surface swallow swarm swing switch sword table tank tape taxi teen telephone
    television tent tie tin tire toddler toilet tool torch towel tower toy track tractor trailer train tree truck
    trumpet tub tube turkey turntable twig typewriter umbrella vacuum vehicle velcro violin wagon wall washer watch
    water waterfall wave weapon whale wheel whip whistle window wing wire wolf woman wood worker wrapper wrench
    zipper
    """.split()
)
"""Visible things whose word the tables also list as a verb or an adjective, or that they lack."""

VERB_LIKE = frozenset(
    """
    bat belt board boot bow brush cage cap club cook crow dial dock drain drill drum duck fan file fire fish float
    fly gear hail hammer handle hook house iron lock mouth nail object package paddle paint pan pedal pet pin pipe
    plane plow plug pump rain ram reel rock sail saw screen screw shovel shower sink skate snake snow spray spring
    steam stream swallow swarm swing switch tank tape tie track train watch water wave whip whistle
    """.split()
)
"""Things that captions also use as verbs: their agreement with the noun before decides ("insect flies" / "flies")."""

ATTRIBUTIVE = frozenset("female male metal plastic".split())
"""Things that stop being one when they only colour a sound: "male speech", "metal clacks"."""

HIDDEN = frozenset(
    """
    acceleration accent action activity aerosol air altogether ambiance ambience amount announcement applause area
    aside aspect atmosphere attempt audio baa babble backdrop background bang bark beat beep beginning birdsong bit
    blare blast bleat bleep blip blowout boing boom bottom breath breathing breeze bunch burst business buzz bye
    cacophony cadence caliber camera cartoon cause chant chatter chime chirp chit chorus city clack clamor clamour
    clang clank clap clatter click clink clip clip-clop clop cluck comedy commentary commotion compression condition
    conversation coo cough countdown country couple course crack crackle crash croak crunch cry day deal decibel
    degree dialect dialog dialogue din ding direction discomfort discussion distance distortion distress ditty
    downshift dozen duration duty echo edge effect emergency emphasis end energy english enthusiasm environment
    event everyone everything exchange excitement exclamation explosion extent fanfare farm fart fashion feedback
    few field flair footfall footprint footstep force forefront foreground forest frequence frequency friction front
    fun game gas gasp gender gibberish glitch goodbye group growl grunt gunfire gunshot gust half harmony health
    heart heartbeat heartbeats hell hiss hollering hour hours hum hundred hush idea idle idol impact indoors
    information instance instrumental intake intensity interference interior interruption interval intro item jingle
    keystroke kind lane language laugh laughing laughter layer left length level life lightning line listener
    location longer loop lot loudness lyric major manner matter measure medium melody member meow meter metre
    microphone middle midst mile minor minute mix mixture mode moment momentum monologue mood motion movement movie
    multitude murmur music mystery narration narrator narrator-voice nature night nobody noise note nothing number
    occasion octave oink onset open operation opinion order outburst outdoors outside overhead overtone owner pace
    pair pang part past patter pattern pause peep percent percussion performance period phrase piece pitch place
    plenty point pong pop pow power prattle presence presentation pressure proceeds procession program progress
    property purr quack quality quantity quarter race range rap rate rattle relief repetition report resonance
    response rest result rev reverb reverberation revolution rhythm right ring ringtone ripple roar room round row
    rpm rumble rustle s scene scratch scream screech screeching season sec second section semi sequel sequence
    series session set shot shout show side sign signal silence situation size slam snap sneeze sniff snore sob
    somebody someone something somewhere sonar song sort sound soundtrack space specie speech speed splash sport
    spurt squawk squeak squeal squelch squish staccato start state static step stereo stomp stop storm story
    strategy strength style succession surround surrounding surroundings sway symbol symphony system takeoff talk
    talking tap task team techno temperature tempo tenor term terror theme thing thousand throat throttle thud thump
    thunder thunderclap thunderstorm thunk tic tick tick-tock ticktock tictac time ton tone top total town
    traffic-noise trickle trill tune turn tweet undertone unison uproar use variety vibration vibrato vicinity
    victory video view vocal vocalization voice volume vowel vroom warble way weather while whimper whine whir
    whisper whole whomp whoosh wind wit woof word work yap yell yelp yip zone zoom
    """.split()
)
"""Nouns that nobody sees: sounds, quantities, times, places off the picture, the recording itself."""

LOOKS = frozenset(
    """
    adult aluminium aluminum ancient big black blue bouncy bright broken bronze brown cardboard ceramic church
    colored colorful colourful concrete construction copper cuckoo elderly electric electrical emergency empty flat
    foreign giant glass gold golden gray green grey heavy-duty huge large leather little long metal metallic
    miniature musical narrow old older orange outdoor pink plastic police porcelain power purple race racing
    railroad red remote-controlled river round rubber rusty school short silver small sports steel stone storm
    string tall tin tiny toy violet wet white wide wooden yellow young younger
    """.split()
)
"""Adjectives and nouns before a thing that say how it looks or which one it is; other adjectives are dropped."""

GERUND_MODIFIERS = frozenset("fishing frying racing rocking sewing warning washing".split())
"""Words in -ing that belong to the thing's name when a noun follows: "sewing machine"."""

QUANTIFIERS = frozenset(
    """
    a all an another any both certain different each eight every few five four her his its lots many more most multiple
    my nine numerous one other our own several seven single six some ten that the their these this those three two
    various your
    """.split()
)

FUNCTION_WORDS = frozenset(
    """
    about above across after against ahead along alongside already also am amid amidst among an and anyone are
    around as at away back be because been before begin begins behind being below beneath beside besides between but
    by came can close closer did do does doing down due during either else everybody finally followed for forth from
    further going gone got had has have he him himself how i if in inside into is it itself just like loudly made
    make makes making me meanwhile might near nearby next no nor not now of off on once only onto or out over
    overhead per possibly proceeded quit quite rather run rung running runs same sat she shook shortly since so
    somewhat speak speaks still such sung than them then there they through throughout till to together too toward
    towards twice under underneath until up upon us very via was we went were what when where which while who whose
    will with within without would writ yet you
    """.split()
)

IRREGULAR_SINGULARS = {
    "children": "child",
    "cutlery": "cutlery",
    "dice": "die",
    "feet": "foot",
    "firemen": "fireman",
    "fireworks": "firework",
    "geese": "goose",
    "glasses": "glass",
    "hooves": "hoof",
    "knives": "knife",
    "ladies": "lady",
    "leaves": "leaf",
    "men": "man",
    "mice": "mouse",
    "people": "person",
    "peoples": "person",
    "persons": "person",
    "policemen": "policeman",
    "scissors": "scissors",
    "shears": "shears",
    "teeth": "tooth",
    "wolves": "wolf",
    "women": "woman",
}
"""Plural to singular where the regular endings fail. "people" is a person to a detector."""

HIDDEN_ENDINGS = ("ance", "ence", "ism", "ity", "ment", "ness", "ship", "sion", "tion", "ology")
"""Endings of abstract nouns; the concrete ones that share them are in ENDING_EXCEPTIONS."""

ENDING_EXCEPTIONS = frozenset(
    """
    airship ambulance appliance audience cement city equipment fountain garment instrument monument ornament
    pavement pharmacist ship spaceship station steamship television
    """.split()
)
