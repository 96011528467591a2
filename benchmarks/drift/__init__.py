"""What drift detection costs, how often it alarms for nothing, and what it finds."""
