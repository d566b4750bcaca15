"""The command line: one module per noun, each a thin client of the node that has the home open."""
