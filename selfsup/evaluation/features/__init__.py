"""What is taken of an encoder: images as it sees them, its features and whatever else, kept on disk."""
