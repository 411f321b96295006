"""The history of prices and latency, from which past answers are explained."""
