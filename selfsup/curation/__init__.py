"""Which samples to learn from, and which to label: functions of features, which know no method."""
