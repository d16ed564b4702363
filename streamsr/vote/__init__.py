"""Vote: people choose between two pictures in a browser, without knowing which method made which; their votes can train the metric."""
