"""What was known at past moments: relay health, prices, latency."""
