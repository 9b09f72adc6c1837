"""Tasks of SQL whose answers were executed: questions in words, and broken statements to repair."""
