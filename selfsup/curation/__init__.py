"""Which samples to learn from, and which to look at: functions of features, which know no method."""
