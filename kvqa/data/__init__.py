"""Examples, photos and one reader for each data set."""
