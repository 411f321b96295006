"""What do ICE peers say? STUN, TURN, SDP, candidates, ufrags, session tokens, region keys. Pure."""
