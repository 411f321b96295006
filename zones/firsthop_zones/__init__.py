"""DNS zones: names, record types, rdata, rules between records, and zone files. Pure."""
