"""What a method sees of an image: where a view looks, how it looks, and compiled code for both."""
