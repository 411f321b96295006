"""Health of relays and transceivers: from probe results and reports to the published status."""
