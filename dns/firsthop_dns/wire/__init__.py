"""DNS messages as octets: queries, EDNS, names, cookies."""
