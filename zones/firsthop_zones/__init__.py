"""What may a zone hold? Names, record types, rdata, rules between records, zone files. Pure."""
