"""What is true of bytes: types, catalogs, envelopes, verdicts. No I/O, no clock, no network."""
