"""Processes: workers and their pipes, signals, take-over of sockets by a successor."""
