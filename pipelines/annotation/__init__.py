"""Captions, and the noun phrases in them."""
