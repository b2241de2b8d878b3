"""Trainings of the small backbones."""
