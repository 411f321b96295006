"""A relay put together: sockets, workers, files that change, metrics, and its successor."""
