"""Raw text, sound and video into vectors, and the store that keeps them."""
