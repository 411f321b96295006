"""Messages and credentials of ICE: STUN, TURN, SDP, candidates, ufrags, tokens, keys. Pure."""
