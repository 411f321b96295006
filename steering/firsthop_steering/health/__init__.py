"""Is a relay up? Views, quorum, damping, depool limits, slow start."""
