"""One module per command: it parses arguments, calls the library and prints the result."""
