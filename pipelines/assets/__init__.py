"""Dagster's assets, one a file, in the order of definitions.py."""
