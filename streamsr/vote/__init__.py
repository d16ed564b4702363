"""Vote: people choose between two pictures in a browser, without knowing what made which; their votes can teach the metric."""
