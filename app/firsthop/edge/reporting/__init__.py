"""What an edge reports: demand and samples to the control plane, metrics to operators."""
