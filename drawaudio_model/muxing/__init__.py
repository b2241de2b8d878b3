"""How media.py writes: a picture copied beside a new sound, and sound alone in a codec."""
