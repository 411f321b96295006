"""From probe results and reports to verdicts and the published status."""
