"""Self-supervised methods, one Lightning module a file."""
