"""How configuration changes: revisions, their audit, and their impact on clients."""
