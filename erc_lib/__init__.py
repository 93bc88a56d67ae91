"""Four papers on emotion recognition in conversation (ERC), rebuilt, measured and explained."""

__version__ = "0.1.0"
