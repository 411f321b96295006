"""The flow table, its limits, routes and counters. Pure."""
