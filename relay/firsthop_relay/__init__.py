"""The relay: one UDP port that answers its own probes and is silent to everything else."""
