"""The words of the demo world: how a person may ask for the sound of each kind of thing.

A word that says which sound is meant belongs to one kind only, alone or beside the same words: "ring" is a bell's, "alarm"
is a siren's but an "alarm clock" is a clock. What only says how loud, how often, how far or where belongs to none and is
shared (`language.py`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Vocabulary about one kind of thing. Verbs stand in their base form; only their first word is inflected."""

    things: tuple[str, ...]
    """Names of the thing: nouns in the singular that take an article and a plural."""
    masses: tuple[str, ...]
    """Nouns without article or plural."""
    acts: tuple[str, ...]
    """Doings of the thing: intransitive verbs."""
    deeds: tuple[str, ...]
    """Doings of someone to the thing: transitive verbs; empty where nobody does."""
    doers: tuple[str, ...]
    """Who does it, beside "someone"."""
    sounds: tuple[str, ...]
    """Names of the sound itself, in the singular."""
    cries: tuple[str, ...]
    """Imitations of the sound."""
    places: tuple[str, ...]
    """Where it sounds or what is hit."""
    fragments: tuple[str, ...]
    """Whole wordings that no template makes."""


def listed(text: str) -> tuple[str, ...]:
    """The parts between the commas of a text."""
    return tuple(" ".join(part.split()) for part in text.split(","))


_BALL = Words(
    things=listed(
        """ball, ball, ball, rubber ball, basketball, tennis ball, soccer ball, beach ball, ping-pong ball, golf ball,
        football, volleyball, bouncy ball, super ball, toy ball, medicine ball, squash ball, leather ball, bouncing
        ball, handball, baseball, cricket ball, dodgeball, dropped ball, plastic ball, bowling ball, foam ball,
        netball, marble"""
    ),
    masses=(),
    acts=listed(
        """bounce, bounce, bounce, bounce up and down, hit the floor, hit the ground, fall to the floor, thud, thump,
        bound, land, rebound, drop, hop, spring back, bounce off the wall, smack the ground, roll to a stop, fly off
        the wall, plop down, strike the floorboards, tumble down, come to rest"""
    ),
    deeds=listed("bounce, dribble, drop, throw, toss, kick, let go of, catch, hurl, lob, slam, play with"),
    doers=listed("a child, a kid, a player, a boy, a basketball player, a dribbler, a footballer"),
    sounds=listed(
        """bounce, bounce, thud, thump, dribble, rebound, impact, rubbery bounce, bouncing, dull thud, bouncing sound,
        hollow bounce, ball bounce, ball hit, ball drop, floor impact, smack, slap"""
    ),
    cries=listed(
        """thud, thump, boing, bonk, boing boing, plop, thud thud, thump thump, whump, bop, doing, pong, bounce"""
    ),
    places=listed(
        """on the floor, on the ground, in a gym, on concrete, against a wall, on a wooden floor, on the court, on the
        pavement, on asphalt, down the stairs, in the hallway, on hardwood, on a tennis court, on the playground, in
        a sports hall, on tiles, in the driveway, on the sidewalk, on a basketball court, in the schoolyard"""
    ),
    fragments=listed(
        """something rubbery bouncing, bounces that die away, a bounce and then a smaller bounce, bouncing to a stop,
        dribbling down the court, it bounces until it lies still, it drops and bounces, each bounce softer than the
        last, bouncy thuds, thuds on a floor, something round hits the floor, dribbling practice, basketball
        practice, game of catch, tennis match, ping-pong match, table tennis, hoops, bounce pass, falling object
        bouncing, dull thuds on the ground, a toy bouncing on the floor, thudding on the floor, rubber hitting the
        ground, basketball game, a game of squash, something drops and bounces, object hits the floor and rebounds,
        soft rubber thuds, dropping something bouncy, kickabout in the yard, playing catch, football practice,
        soccer match, juggling, thump on the floor"""
    ),
)
_BELL = Words(
    things=listed(
        """bell, bell, bell, church bell, hand bell, handbell, doorbell, school bell, brass bell, bronze bell, cowbell,
        ship's bell, gong, cathedral bell, tower bell, dinner bell, temple bell, sleigh bell, bicycle bell, wind
        chime, carillon, shop bell, service bell, reception bell, jingle bell, metal bell, monastery bell, chapel
        bell, desk bell, iron bell, chime, tubular bell, door chime, wedding bell, triangle, glockenspiel,
        campanile, belfry, telephone, funeral bell"""
    ),
    masses=listed("chimes, church bells, wedding bells, bell ringing, wind chimes"),
    acts=listed(
        """ring, ring, ring, ring out, toll, toll, chime, peal, clang, jingle, ding, dong, swing and ring, resonate,
        tinkle, sound, swing back and forth, jangle, strike once, strike the hour, gong, strike twice, knell,
        reverberate"""
    ),
    deeds=listed("ring, toll, strike, chime, clang, swing, hit, sound, jingle, pull the rope of, shake"),
    doers=listed("a priest, a monk, a teacher, a bell ringer, the sexton, a bellringer, a sacristan"),
    sounds=listed(
        """ring, toll, chime, clang, ding, peal, jingle, strike, bell strike, bell ring, knell, tinkle, bell toll,
        ringing, tolling, chiming, metallic ring, bell tone, clanging, pealing, jangle, bong, dong, metal clang,
        ringing tone"""
    ),
    cries=listed(
        """ding, dong, ding-dong, ding dong ding dong, clang, bong, ting, ding ding, ting-a-ling, bing bong, ring ring,
        dingaling, jingle jingle, gong, ding ding ding, bim bam, tinkle tinkle, cling, ring-a-ling"""
    ),
    places=listed(
        """in a church, from the church tower, in the tower, in the steeple, at noon, at midnight, for mass, on a ship,
        in the village, across the valley, at the door, in a monastery, at the reception desk, for the wedding, from
        the belfry, in the cathedral, over the town, at the temple, on Sunday, in the chapel, for the funeral"""
    ),
    fragments=listed(
        """ringing metal, the hour is struck, calling to mass, Sunday morning chimes, a metallic ring that fades, a
        long ringing note, church tower striking, the clapper strikes the bronze, somebody at the door rings,
        ringing out over the rooftops, tolling for the dead, a chime that decays slowly, wedding chimes, jingling
        sleigh bells, it rings, it tolled, tolling from the tower, the ringing dies away, class is over ringing,
        resonant clang, steeple chimes, metal struck and ringing, church service begins, the church calls, bronze
        ringing, ringing at the door, the clang of metal, a clapper swinging, ringer pulling the rope, hotel
        reception ding, the tower strikes one, church steeple, bell tower, ring once, sonorous metallic tolling,
        peals from the cathedral, angelus, big ben"""
    ),
)
_DRUM = Words(
    things=listed(
        """drum, drum, drum, snare drum, snare, bass drum, kick drum, tom, tom-tom, bongo, conga, djembe, drum kit,
        drum set, hand drum, war drum, side drum, tambourine, cymbal, hi-hat, tabla, timpani, kettle drum, steel
        drum, drummer, percussionist, marching drum, drum beat, bodhran, floor tom, frame drum, drumbeat,
        kettledrum, toy drum, drum pad, drum machine, cajon, tin drum, talking drum, drum skin, drumhead"""
    ),
    masses=listed("percussion, drums, bongos, drumming, snares, taiko drums, tablas, congas"),
    acts=listed(
        """beat, beat, roll, play, bang, boom, rattle, pound, drum, tap, thump, keep the beat, play a rhythm, thunder,
        throb, crash, rumble, play a groove, sound, march along, rap, roll on, play a march"""
    ),
    deeds=listed(
        """beat, hit, bang, bang on, play, strike, tap, pound, drum on, bash, slap, thump, whack, hammer, pound on, tap
        on"""
    ),
    doers=listed(
        """a drummer, a percussionist, a stick, a musician, a soldier, a child with sticks, a marching band"""
    ),
    sounds=listed(
        """beat, drumbeat, roll, drum hit, drum roll, bang, boom, stroke, rimshot, rap, tap, drum fill, paradiddle,
        snare hit, beating, drum stroke, drum loop, rat-tat, drumming, pounding, percussion hit, drum solo, tattoo,
        snare roll, stick hit, backbeat"""
    ),
    cries=listed(
        """boom, rat-a-tat, bang, ba dum tss, rat-tat-tat, boom boom, bum bum, tum tum, rum-pum-pum, dum dum, ratatat,
        pa-rum, boom bap, taka taka, bam bam, bang bang, rataplan, badum, rub-a-dub, tum-ti-tum, dum, tat-tat"""
    ),
    places=listed(
        """with a stick, with sticks, with both hands, on stage, in a marching band, in a parade, in a rock band, in
        the studio, with brushes, at a concert, with mallets, in an orchestra, by the band, on the skin, with
        drumsticks, in the rehearsal room"""
    ),
    fragments=listed(
        """a beat on the snare, sticks on a skin, stick strikes the skin, rhythmic percussion, a marching beat,
        military march rhythm, tribal rhythm, sticks hitting a membrane, hands slapping a skin, drumsticks at work,
        beating time, keeping the beat, a stick hits the skin again and again, boom of the bass, roll before the
        trick, marching band practice, percussive hits, a rock beat, four on the floor beat, snare rattle, cymbal
        crash, kick and snare, a groove on the toms, someone is drumming, drumming with fingers, drumsticks, beats
        of a stick, percussion section, banging sticks, paradiddles, bass drum kick, percussive beat, jazz brushes,
        a musician keeps the rhythm, hitting skins, circus roll, roll of the snare, drum circle, thundering toms,
        rhythm section, parade rhythm, beating with mallets, tapping sticks"""
    ),
)
_CAR = Words(
    things=listed(
        """car, car, car, vehicle, vehicle, automobile, truck, lorry, van, bus, taxi, cab, sedan, jeep, pickup, pickup
        truck, motor car, race car, sports car, racing car, engine, motor, car engine, motorcycle, motorbike,
        convertible, SUV, hatchback, delivery van, hot rod, muscle car, limousine, old car, diesel engine, passing
        car, motor vehicle, semi, minivan, tractor, coupe, tow truck, big rig, roadster, scooter, petrol engine, V8
        engine, wagon, electric car, exhaust, Ferrari, auto"""
    ),
    masses=listed("traffic, road traffic, street traffic, engine noise, motor noise, highway traffic, road noise"),
    acts=listed(
        """drive by, drive past, pass by, pass, drive away, drive off, approach, rev, rev up, accelerate, speed past,
        speed away, idle, rumble, roar, roar past, cruise by, start up, roll by, zoom past, race by, brake, skid,
        honk, pull up, pull away, park, go by, whoosh by, hum, growl, turn over, come closer and leave, sputter,
        stall, reverse, rush by, purr, drone past, drive, peel out, slow down, screech to a halt, take off down the
        road, run, rattle down the street, motor along"""
    ),
    deeds=listed("drive, start, rev, park, accelerate, brake, race, steer, reverse, stop, back up, warm up"),
    doers=listed("a driver, the driver, a man, a motorist, a chauffeur, a racer"),
    sounds=listed(
        """engine, engine noise, motor, rev, drive-by, pass-by, engine rumble, engine roar, horn, honk, car pass,
        acceleration, idling, engine hum, vehicle pass, engine start, revving, motor hum, engine rev, exhaust note,
        tire screech, ignition, flyby"""
    ),
    cries=listed(
        """vroom, vroom vroom, brum, brum brum, beep beep, honk, honk honk, brrm, rev rev, neeowm, vrrr, screech of
        tyres, vrooom, chugga chugga, putt putt, toot toot"""
    ),
    places=listed(
        """on the road, on a street, on the highway, down the street, on the motorway, on gravel, in a garage, on a wet
        road, in the driveway, at the traffic light, on a racetrack, in the car park, on asphalt, around the corner,
        on a country road, on the freeway, through a tunnel, on the main road, past the camera, from left to right,
        in the parking lot, down the lane"""
    ),
    fragments=listed(
        """driving past, passing by on the road, motor running, engine running, tyres on asphalt, tires on gravel, rush
        hour, busy street, highway noise, traffic going past, something drives past, driving down the street, engine
        starting up, engine rumbles closer and then away, revving at the lights, foot on the gas, stepping on the
        gas, car horn, honking, motorway noise, cars going past, wheels rolling on the road, drive-by, a drive by,
        the motor purrs, someone drives off, it drives away, combustion engine, gear shift, doppler pass-by, formula
        one, getaway, road with cars, car pulling into the driveway, starting the ignition, wheels on tarmac, a
        street race, engine of a lorry, vehicle in motion, passing traffic, idling at a red light, car door and
        engine, cruising, speeding on the freeway, motoring along, burning rubber, backfiring exhaust, turbo engine,
        diesel rumble"""
    ),
)
_BIRD = Words(
    things=listed(
        """bird, bird, bird, songbird, sparrow, robin, finch, canary, blackbird, nightingale, thrush, wren, lark,
        skylark, warbler, cuckoo, chickadee, budgie, parakeet, parrot, dove, swallow, blue jay, starling, cardinal,
        mockingbird, little bird, seagull, gull, owl, crow, birdie, garden bird, forest bird, goldfinch, blue tit,
        nestling, pigeon, chick, duck, magpie, raven, hawk, eagle, woodpecker, hummingbird, oriole, bluebird,
        rooster, jay, tropical bird, fledgling, bullfinch, cockatiel, kingfisher, goose"""
    ),
    masses=listed("birdsong, birdlife, bird song, wildlife, bird chatter, bird calls"),
    acts=listed(
        """chirp, chirp, sing, sing, tweet, twitter, warble, trill, peep, cheep, whistle, call, chatter, call out,
        squawk, coo, chirrup, sing a song, sing its heart out, caw, chirp away, pipe, screech, hoot, sing to its
        mate, quack, crow, cry"""
    ),
    deeds=(),
    doers=(),
    sounds=listed(
        """chirp, tweet, birdcall, bird call, trill, warble, peep, twitter, bird song, chirping, tweeting, cheep, bird
        chirp, warbling, twittering, mating call, squawk, bird whistle, chirrup,
        avian call"""
    ),
    cries=listed(
        """tweet, chirp, tweet tweet tweet, chirp chirp, cheep, cheep cheep, twit twoo, peep peep, chirrup,
        tweedle-dee, caw caw, cuckoo, pip pip, tweety tweet, fweet, coo coo, chip chip, twit, chick-a-dee, tu-whit
        tu-whoo, jug jug, hoot hoot"""
    ),
    places=listed(
        """on a branch, in a tree, in the trees, in the garden, in the forest, in the woods, at dawn, in the morning,
        in spring, in a cage, on the roof, in the park, in the bushes, from the treetops, in the hedge, at sunrise,
        in its nest, on a wire, in the jungle, on the windowsill, in the meadow, in the countryside"""
    ),
    fragments=listed(
        """morning chorus, singing in the trees, chirping outside the window, a beak opens and chirps, song at dawn,
        tiny chirps from a nest, woodland ambience, forest morning ambience, spring morning, a flock chattering,
        chirpy song, warbled notes, chirping and tweeting, avian song, feathered singer, tweets from the tree, it
        chirps, it tweeted, it sang in the tree, twittering flock, a flock of sparrows, chirps from above, aviary,
        feathered friends, melodious warbling, high chirps, a trill and a warble, nestlings begging, whistled tune
        from a tree, dawn song, early morning song, fluttering and tweeting, nature sounds with chirping, a song
        from the branch, beak wide open singing, garden song, peeping chicks, tweeting and fluttering, birdsong in
        the morning, the chorus at sunrise, pet shop chirping, chirps and trills"""
    ),
)
_RAIN = Words(
    things=listed(
        """raindrop, rain shower, shower, downpour, cloudburst, rainstorm, thunderstorm, storm, drizzle, rain cloud,
        drop of rain, deluge, summer rain, spring shower, monsoon, water drop, raincloud, thunder shower, storm
        cloud, squall, droplet, raindrop"""
    ),
    masses=listed(
        """rain, rain, rain, rain, rain, rainfall, rainfall, rainwater, drizzle, pouring rain, raindrops,
        precipitation, torrential rain, driving rain, rainy weather, falling rain, wet weather, hail, sleet, storm
        rain, bad weather, sheets of rain"""
    ),
    acts=listed(
        """fall, fall, pour, pour down, patter, drip, fall down, come down, beat down, splash, drum on the roof, hit
        the window, drizzle, shower down, lash down, pelt down, trickle, run down the gutter, tap on the window,
        rattle on the tin roof, hammer on the roof, pitter-patter, spatter, begin to fall, ease off, set in, drop,
        sprinkle down, stream down, bucket down"""
    ),
    deeds=(),
    doers=(),
    sounds=listed(
        """patter, rainfall, shower, rain patter, drip, downpour, rain ambience, pitter-patter, dripping, splash, rain
        sound, pattering, rain noise, drizzle, raindrop, rain drop, drop, spatter, thunder"""
    ),
    cries=listed(
        """drip drop, drip drip, pitter patter, plip plop, drip, splish splash, plink plink, patter patter, splash,
        pitter pitter, drip drip drip, plip plip, drop drop, pit-a-pat, shhh"""
    ),
    places=listed(
        """on a tin roof, on the roof, on the window, on the leaves, on an umbrella, on the pavement, in the gutter, on
        a tent, from the cloud, from the sky, on the car roof, on the street, into puddles, on concrete, on a metal
        roof, in the forest, on the windowpane, on grass, in autumn, on the skylight, all night long, outside the
        window, on the windshield, in April"""
    ),
    fragments=listed(
        """it rains, it is pouring, it's raining, it is raining hard, it pours, it poured, it drizzles, it was raining
        all night, raining cats and dogs, wet weather outside, rainy day, a rainy night, rainy afternoon, stormy
        weather, raining on the roof, raining outside, drops on tin, drops falling from a cloud, a wet autumn day,
        water falling on the roof, water dripping, the heavens open, drops hitting metal, pouring down outside,
        thunder and rain, rumbling thunder, pouring outside, falling water drops, drenching downpour, water running
        off the roof, steady patter on glass, storm outside the window, drops splashing into puddles, raining
        softly, raining heavily, raining down, started to rain, light showers, hissing rain, rain drumming on a car,
        rain beating on the roof, droplets on the tent, rain stick, umbrella in the rain, monsoon season, water from
        the sky, dripping eaves, dripping gutter, a cloud pours, the clouds burst, sprinkling drops, a wet day"""
    ),
)
_SIREN = Words(
    things=listed(
        """siren, siren, siren, siren, police siren, ambulance siren, fire siren, alarm, alarm, fire alarm, burglar
        alarm, smoke alarm, air raid siren, car alarm, security alarm, ambulance, fire engine, fire truck, police
        car, emergency vehicle, warning siren, tornado siren, klaxon, emergency siren, police cruiser, factory
        siren, smoke detector, evacuation alarm, emergency alarm, house alarm, air-raid alarm, buzzer, foghorn,
        patrol car, squad car, fire brigade, cop car, alert, civil defence siren, tsunami siren, two-tone siren,
        intruder alarm, storm siren, emergency signal, warning signal, alarm signal"""
    ),
    masses=listed("sirens, emergency sirens, police sirens, alarms, emergency services, ambulance sirens"),
    acts=listed(
        """wail, wail, blare, go off, sound, howl, scream, whoop, flash and wail, shriek, rise and fall, warn, wail
        past, pass by wailing, sound the alert, yelp, blare out, rush to an emergency, race past with its siren on,
        screech, cry out, hoot, warble up and down, respond to an emergency call, get closer, whine, blast, alert
        everyone, beep"""
    ),
    deeds=listed("set off, trigger, sound, turn on, switch on, trip, raise, activate"),
    doers=listed("the police, a fireman, a burglar, the police officer, a paramedic, a guard, firefighters"),
    sounds=listed(
        """wail, siren wail, howl, alarm, siren, alert, blare, whoop, warning, wailing, siren sound, police chase,
        blaring, emergency alert, alarm tone, howling, siren sweep, warning tone, distress signal, emergency call,
        air raid warning, siren yelp"""
    ),
    cries=listed(
        """nee naw, nee-naw, wee woo, wee-woo, woo woo, whoop whoop, wee woo wee woo, nee nah, weeoo weeoo, wail,
        eee-ooo, awooga, weeeooo, ee-aw ee-aw, woop woop, nino nino, bee-baw, wiu wiu, tatu tata, beep beep beep
        alarm"""
    ),
    places=listed(
        """in the city, in the street, down the road, through traffic, on the roof of a car, on the way to the
        hospital, in the building, at an accident, in an emergency, through the city, in New York, around the block,
        for a fire drill, at the fire station, racing to a fire, over the town, in a factory, during an air raid,
        with flashing lights"""
    ),
    fragments=listed(
        """emergency services on their way, rising and falling wail, two-tone wail, an emergency, red alert, evacuate
        the building, police on the way, police chase, warning light and wail, the wailing comes closer, flashing
        blue lights and wailing, red light flashing and howling, the police are coming, ambulance rushing past, fire
        brigade on the way, first responders, danger signal, wailing in the distance, high-pitched wailing, it
        wails, it goes off, it went off, alarm blaring, alarms going off, sounding the alarm, fire drill, air raid,
        code red, an alert sounds, the alert howls up and down, cops are coming, police pursuit, paramedics racing,
        emergency response, hue and cry of the police, intruder alert, 911 call response, alarm ringing, warning
        sound, the alarm was set off, raid warning, evacuation, security breach, tornado warning, cop car speeding
        by, ambulance driving past, police car driving by, fire truck driving by, fire engine roaring past, lamp
        flashing and wailing, police car chasing, ambulance passing by, emergency vehicle passing by, emergency
        vehicle racing by"""
    ),
)
_CLOCK = Words(
    things=listed(
        """clock, clock, clock, wall clock, grandfather clock, alarm clock, kitchen clock, pendulum clock, mantel
        clock, cuckoo clock, watch, wristwatch, pocket watch, stopwatch, kitchen timer, egg timer, timer, metronome,
        timepiece, second hand, pendulum, old clock, wind-up clock, mechanical clock, station clock, quartz clock,
        antique clock, table clock, longcase clock, bedside clock, time bomb, chronometer, desk clock, clock hand,
        office clock, clock mechanism, hourglass timer, wall-mounted clock, chess clock"""
    ),
    masses=listed("clockwork, clocks, ticking, watches, a clock face"),
    acts=listed(
        """tick, tick, tick, tick away, tick on, click, swing back and forth, count the seconds, tick and tock, count
        down, keep time, tock, swing from side to side, tick down, tick-tock, run, run down, swing to and fro, mark
        the seconds, measure time, go tick tock"""
    ),
    deeds=listed("wind, wind up, set, start, watch"),
    doers=listed("a clockmaker, grandfather, a watchmaker"),
    sounds=listed(
        """tick, ticking, tick-tock, tock, clock tick, second, clicking, ticking sound, clock ambience, countdown,
        click, mechanical tick, clockwork sound, watch tick, ticktock, tick and tock, escapement, ticking noise"""
    ),
    cries=listed(
        """tick, tock, tick tick, tick tick tick, tick-tock tick-tock, tick-tock, tick tack, tic toc, click clack, tic
        tac, tock tock, tick tock goes, ticktock, tick tick tock, tickety tock, click click"""
    ),
    places=listed(
        """on the wall, in a quiet room, in the living room, on the mantelpiece, on the nightstand, in the kitchen, in
        the hall, on the shelf, in an empty house, in the waiting room, on the wrist, beside the bed, in the study,
        in a silent classroom, in the bedroom, on the desk, at grandma's house, in the exam room, in the parlour"""
    ),
    fragments=listed(
        """seconds passing, the seconds tick by, time passing, time is running out, time ticks by, second by second,
        passing seconds, a tick every second, countdown to zero, ticking away, it ticks, it ticked, steady ticks,
        ticks and tocks, small mechanical ticks, tick after tick, regular clicking of gears, gears of a timepiece,
        the pendulum swings, waiting and ticking, ticking bomb, bomb timer, ticking towards midnight, the second
        hand moves, minutes ticking past, mechanical movement ticking, winding down, ticks in a silent room, time
        goes by, dry ticks, escapement clicking, cogs turning and ticking, a minute passes, sixty seconds, the hands
        of time, metronome at work, waiting for time to pass, tense ticking, ticking down, seconds counted, alarm
        clock on the bedside table, alarm clock by the bed, cuckoo clock on the wall, clock tower mechanism,
        swinging pendulum, quiet tick of a wristwatch, clock striking seconds, hours go by, timekeeping, tempo
        clicks"""
    ),
)

WORDS = {
    "ball": _BALL,
    "bell": _BELL,
    "drum": _DRUM,
    "car": _CAR,
    "bird": _BIRD,
    "rain": _RAIN,
    "siren": _SIREN,
    "clock": _CLOCK,
}
"""Kind -> its words. A thing said several times is said more often."""

PAST = {
    "ring": "rang",
    "sing": "sang",
    "strike": "struck",
    "beat": "beat",
    "hit": "hit",
    "swing": "swung",
    "drive": "drove",
    "fall": "fell",
    "come": "came",
    "go": "went",
    "keep": "kept",
    "rise": "rose",
    "wind": "wound",
    "set": "set",
    "throw": "threw",
    "catch": "caught",
    "let": "let",
    "run": "ran",
    "get": "got",
    "speed": "sped",
    "fly": "flew",
    "spring": "sprang",
    "take": "took",
    "shake": "shook",
    "slide": "slid",
    "begin": "began",
}
"""Base form -> simple past of irregular verbs."""
PARTICIPLES = {
    "ring": "rung",
    "strike": "struck",
    "beat": "beaten",
    "drive": "driven",
    "throw": "thrown",
    "shake": "shaken",
    "swing": "swung",
}
"""Base form -> past participle, where it is not the simple past."""

UNSAID = frozenset(
    line.strip()
    for line in """
    a ball was dropped and bounced
    a canary sang
    a car drives past
    a car engine starts and drives off
    a drummer playing a beat
    a light drizzle
    a loud chime
    a songbird warbling at dawn
    a tennis ball hits the floor
    a thunderstorm with pouring rain
    a truck rumbles by
    a warning siren sounds
    a watch ticking quietly
    alarm clock ticking on a nightstand
    ambulance passing with its siren on
    automobile accelerating
    basketball dribbling
    bass drum single hit
    bells ringing in the distance
    big bronze bell tolling slowly
    birds chirping in the trees
    birdsong
    bongo drumming
    canary whistling softly
    cars going by on the street
    church bell one strike
    clang of a heavy bell
    clocks ticking in a quiet room
    dawn chorus
    ding dong
    downpour
    drums loud and fast
    drumsticks hitting a drumhead
    emergency vehicle siren far away
    engine idling
    fire alarm
    football bouncing down the hall
    grandfather clock steady ticks
    it is raining
    it rained hard
    jingling handbell
    metronome like ticks
    motor revving up
    nee naw nee naw
    pendulum swinging
    percussion solo
    pickup truck approaching
    pitter patter
    police car rushing by with sirens
    rain hitting the roof
    raindrops on a window
    rainfall steady
    rat a tat on the snare
    robin two short chirps
    rubber ball several bounces
    school bell ringing loudly
    sirens blaring in the city
    snare hit
    soft bounces that get quieter
    someone bangs a drum
    someone dribbles a basketball in a gym
    someone rings a bell
    something bouncing on the ground
    sparrow tweeting
    tapping on a tom
    the alarm goes off
    the beat of a war drum
    the roar of a sports car
    the seconds ticked away
    the thud of a ball being dropped
    the ticking of an old timepiece
    the twitter of small birds
    thump thump thump of a ball
    tick tock
    traffic on a road
    tweet tweet
    vehicle passing by
    vroom
    wailing siren getting closer
    wall clock slow tick
    water drops falling from the sky
    """.strip().splitlines()
)
"""Further wordings that the grammar never makes, in lower case without punctuation."""
