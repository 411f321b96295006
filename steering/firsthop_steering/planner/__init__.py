"""The planner: from demand, RTT and capacity to a price for every region, in milliseconds.

An edge adds the price to the score and needs nothing else of a plan.
"""
