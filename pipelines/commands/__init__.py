"""One module a command of the command line, each with a `main(options)` that returns the exit code."""
