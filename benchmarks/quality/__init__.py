"""How good: what methods learn, and what their settings were chosen by."""
