"""What is true of bytes: types, catalogs, codec, envelopes, verdicts. No I/O, no clock, no network."""
