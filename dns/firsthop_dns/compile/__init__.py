"""Records and services compiled into the DNS part of a table file."""
