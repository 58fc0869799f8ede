"""What follows from facts: pure functions without I/O, clock or randomness."""
