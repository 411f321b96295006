"""The relay: forwards UDP and ICE-TCP by ufrag; answers authenticated probes and nothing else."""
