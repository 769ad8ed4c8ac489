"""From a photo to regions: the one feature form, and what makes it."""
