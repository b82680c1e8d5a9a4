"""The command line, one module per command. The only room that prints, reads the environment or exits."""
