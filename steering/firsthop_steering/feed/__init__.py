"""What processes tell each other: signed snapshots, deltas, reports, samples, demand."""
