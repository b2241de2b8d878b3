"""Levels of a sound: within full scale, and at the curve's."""
