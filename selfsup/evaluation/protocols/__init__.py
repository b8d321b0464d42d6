"""One protocol a file; each is chosen and configured by ``configs/protocols/NAME.yaml``."""
