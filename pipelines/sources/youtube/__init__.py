"""Clips of official lists, fetched from YouTube."""
