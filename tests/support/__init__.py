"""What tests of several folders share: small worlds, stand-ins, processes, and how to wait."""
