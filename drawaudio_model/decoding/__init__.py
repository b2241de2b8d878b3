"""How media.py reads a file: its container, its pictures and its sound."""
