"""The reference transceiver: ICE, DTLS and media of many sessions behind one UDP port."""
