"""What the controller watches: rows of the database, and pods."""
