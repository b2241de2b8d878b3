"""Layers of the UNet."""
