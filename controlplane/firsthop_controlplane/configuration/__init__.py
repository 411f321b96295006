"""Changes of the configuration: revisions, their audit, and their impact on clients."""
