"""Where clips come from: a rendered world, the user's own media, YouTube."""
