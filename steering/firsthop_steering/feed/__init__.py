"""Messages between processes: signed snapshots, deltas, reports, RTT samples and demand."""
