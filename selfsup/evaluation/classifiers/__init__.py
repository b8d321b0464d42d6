"""What is fitted to features, or to an encoder, with labels."""
