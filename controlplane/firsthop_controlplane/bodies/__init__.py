"""Request bodies: whatever they hold, the work on them and the answer are bounded."""
