"""One module a command: arguments in, library call, words out."""
