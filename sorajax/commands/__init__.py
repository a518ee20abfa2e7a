"""The command lines: they parse options, call one function and print where its result is."""
