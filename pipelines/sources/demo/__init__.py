"""The rendered world: pictures, sounds, words and their truth."""
