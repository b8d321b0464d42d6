"""Quality: what methods learn, and the trials behind their settings."""
