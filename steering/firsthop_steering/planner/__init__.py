"""The planner: from demand, RTT and capacity to a price for every region, in milliseconds.

An edge adds the price to the score (design §4) and needs nothing else of a plan.
"""
