"""The planner: computes a price in milliseconds for every region from demand, RTT and capacity.

An edge adds the price to the region's score and needs nothing else of the planner's work (see
docs/decisions/0014-prices-and-round-trips-are-columns-and-charges.md).
"""
